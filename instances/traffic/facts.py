"""What a workload takes from its trace: rate, mean and longest lengths, and how unevenly requests come."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

from shardproof.instances.reading import refuse
from shardproof.instances.traffic.trace import Trace, read_trace

_FROM_TRACE = ("rate", "arrival_cv", "input_tokens", "output_tokens", "input_lengths", "output_lengths")


def with_traces(tree: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """Fill in every workload of a parsed instance that names a trace; paths are relative to its folder.

    Raises
    ------
    InputError
        If a trace cannot be read, or the workload also states what the trace says.
    """
    made = dict(tree)
    if isinstance(tree.get("workload"), dict):
        made["workload"] = _filled(tree["workload"], folder)
    if isinstance(tree.get("scenarios"), list):
        made["scenarios"] = [
            {**item, "workload": _filled(item["workload"], folder)}
            if isinstance(item, dict) and isinstance(item.get("workload"), dict)
            else item
            for item in tree["scenarios"]
        ]
    return made


def _filled(workload: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    source = workload.get("trace")
    if not isinstance(source, str):
        return workload
    stated = [name for name in _FROM_TRACE if workload.get(name) is not None]
    if stated:
        raise refuse(source, f"says the requests itself; leave {', '.join(stated)} out", field="workload.trace")
    path = Path(source) if folder is None else folder / source
    trace = read_trace(path)
    return {**workload, **facts_of(trace)}


def facts_of(trace: Trace) -> dict[str, Any]:
    """Return the fields of an open workload that a trace states."""
    requests = trace.requests
    count = len(requests)
    if count < 2 or not trace.seconds:
        raise refuse(trace.source, "holds no two moments; an open workload needs a rate", field="workload.trace")
    longest = max(request.input_tokens + request.output_tokens for request in requests)
    return {
        "kind": "requests",
        "rate": f"{trace.rate:.6f}/s",
        "arrival_cv": f"{variation(trace):.4f}",
        "input_tokens": ceil(sum(request.input_tokens for request in requests) / count),
        "output_tokens": ceil(sum(request.output_tokens for request in requests) / count),
        "sequence_length_range": (1, longest),
        "trace": {"path": trace.source, "digest": digest(trace), "count": count},
    }


def variation(trace: Trace) -> float:
    """Coefficient of variation of the gaps between arrivals."""
    times = [request.arrival_ns for request in trace.requests]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    return float((sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 / mean)


def digest(trace: Trace) -> str:
    """SHA-256 of the requests, whatever file and form they came in."""
    found = hashlib.sha256()
    for request in trace.requests:
        found.update(repr((request.arrival_ns, request.input_tokens, request.output_tokens, request.blocks)).encode())
    return found.hexdigest()
