"""Benchmark reports: the one form into which llm-d's converter brings the results of many tools, versions 0.1 and 0.2.

Source: ``llmd-benchmark-report`` 0.2.1 (``benchmark-report -w TOOL``), tried on results of vLLM. Its
``time_per_output_token`` is the tool's own: GuideLLM's counts the first token, and aiperf's ``inter_token_latency`` is
one value a request, so for these two the latter is TPOT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shardproof.solver.benchmarking.measured import Measured, number, rates, whole

_SCALES = {"ms": 1.0, "s": 1e3, "us": 1e-3, "ns": 1e-6}
_OWN_TPOT = ("guidellm", "aiperf")


def read_report(tree: Mapping[str, Any]) -> Measured | None:
    """Return a report's run; ``None`` for any other document."""
    version = str(tree.get("version", ""))
    if version.startswith("0.1") and "metrics" in tree:
        return _first(tree)
    if version.startswith("0.2") and "results" in tree:
        return _second(tree)
    return None


def _at(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _first(tree: Mapping[str, Any]) -> Measured:
    metrics, arguments = tree["metrics"], _at(tree, "scenario", "load", "args")
    tool = str(_at(tree, "scenario", "load", "name") or "")
    throughput = _at(metrics, "throughput")
    return _measured(
        tool,
        metrics,
        rates(_at(throughput, "requests_per_sec"), _at(throughput, "output_tokens_per_sec")),
        concurrency=whole(_at(arguments, "max_concurrency") or _at(arguments, "concurrency")),
        rate=number(_at(arguments, "request_rate")),
    )


def _second(tree: Mapping[str, Any]) -> Measured:
    metrics = _at(tree, "results", "request_performance", "aggregate") or {}
    load = _at(tree, "scenario", "load", "standardized")
    throughput = _at(metrics, "throughput")
    pairs = (_at(throughput, name, "mean") for name in ("request_rate", "output_token_rate"))
    tool = str(_at(load, "tool") or "")
    return _measured(
        tool, metrics, rates(*pairs), concurrency=whole(_at(load, "concurrency")), rate=number(_at(load, "rate_qps"))
    )


def _measured(
    tool: str, metrics: Any, throughput: dict[str, float], *, concurrency: int | None, rate: float | None
) -> Measured:
    own = tool.lower() in _OWN_TPOT
    names = {"ttft": "time_to_first_token", "e2e": "request_latency"}
    names |= {"tpot": "inter_token_latency"} if own else {"tpot": "time_per_output_token", "itl": "inter_token_latency"}
    found = {name: _points(_at(metrics, "latency", key)) for name, key in names.items()}
    requests = _at(metrics, "requests")
    failed = whole(_at(requests, "failures")) or 0
    total = whole(_at(requests, "total"))
    return Measured(
        f"benchmark report of {tool}" if tool else "benchmark report",
        {name: points for name, points in found.items() if points},
        throughput,
        None if total is None else total - failed,
        failed,
        concurrency,
        rate,
        number(_at(requests, "input_length", "mean")),
        number(_at(requests, "output_length", "mean")),
    )


def _points(statistics: Any) -> dict[str, float]:
    """Mean and percentiles in ms; ``p99p9`` is the 99.9th."""
    if not isinstance(statistics, Mapping):
        return {}
    scale = _SCALES.get(str(statistics.get("units", "ms")).partition("/")[0], 1.0)
    found = {"p50": number(statistics.get("median")), "mean": number(statistics.get("mean"))}
    for key, value in statistics.items():
        if re.fullmatch(r"p\d+(?:p\d+)?", str(key)):
            found[f"p{str(key)[1:].replace('p', '.')}"] = number(value)
    return {at: value * scale for at, value in found.items() if value is not None}
