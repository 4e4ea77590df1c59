"""Results of four benchmark tools, read as one record: figures in ms by percentile, rates per second.

``tpot`` is one value a request, the first token left out: vLLM's tpot, the inter_token_latency of aiperf and
GenAI-Perf, and GuideLLM's inter_token_latency_ms (its time_per_output_token_ms counts the first token too).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from shardproof.instances.reading import refuse

FIGURES = ("ttft", "tpot", "itl", "e2e")


@dataclass(frozen=True)
class Measured:
    """One measured run: ``figures[name][at]``, ms, ``at`` being mean, p50, p90 ...; rates by name, per second.

    ``concurrency`` and ``rate``: what was sent, where the file says so.
    """

    tool: str
    figures: Mapping[str, Mapping[str, float]]
    rates: Mapping[str, float]
    completed: int | None = None
    failed: int = 0
    concurrency: int | None = None
    rate: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None


def read_results(path: Path) -> tuple[Measured, ...]:
    """Read a tool's JSON: one run, or (GuideLLM) several.

    Raises
    ------
    InputError
        If it is of no tool that is known.
    """
    tree = _tree(path)
    if isinstance(tree.get("benchmarks"), list):
        found = tuple(_guidellm(item) for item in tree["benchmarks"] if isinstance(item, dict) and "metrics" in item)
    elif "request_throughput" in tree and _number(tree.get("mean_ttft_ms")) is not None:
        found = (_vllm(tree),)
    elif isinstance(tree.get("time_to_first_token"), dict):
        found = (_tagged(tree),)
    else:
        found = ()
    if not any(one.figures for one in found):
        remedy = (
            "is no result of vllm bench serve, aiperf, GuideLLM or GenAI-Perf; give the JSON that one of them wrote"
        )
        raise refuse(str(path), remedy)
    return found


def _tree(path: Path) -> dict[str, Any]:
    """Read a JSON object; plain numbers, as the tools write them."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise refuse(str(path), f"cannot be read ({error.strerror}); give the JSON that a tool wrote") from None
    except (ValueError, RecursionError):
        raise refuse(str(path), "is no JSON; give the JSON that vllm, aiperf, GuideLLM or GenAI-Perf wrote") from None
    return tree if isinstance(tree, dict) else {}


def _number(value: object) -> float | None:
    """Return a finite number; ``None`` for whatever else a tool writes in its place."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        return None
    return float(value)


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _vllm(tree: Mapping[str, Any]) -> Measured:
    figures: dict[str, dict[str, float]] = {}
    for name, key in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("e2e", "e2el")):
        found = {"mean": _number(tree.get(f"mean_{key}_ms")), "p50": _number(tree.get(f"median_{key}_ms"))}
        for field, value in tree.items():
            match = re.fullmatch(rf"p(\d+(?:\.\d+)?)_{key}_ms", field)
            if match is not None:
                found[f"p{match[1]}"] = _number(value)
        kept = {at: value for at, value in found.items() if value is not None}
        figures |= {name: kept} if kept else {}
    completed, rate = _whole(tree.get("completed")), _number(tree.get("request_rate"))
    each = [_number(tree.get(f"total_{side}_tokens")) for side in ("input", "output")]
    return Measured(
        "vllm bench serve",
        figures,
        _rates(tree.get("request_throughput"), tree.get("output_throughput")),
        completed,
        _whole(tree.get("failed")) or 0,
        _whole(tree.get("max_concurrency")),
        None if rate is None or rate == float("inf") else rate,
        *(None if total is None or not completed else total / completed for total in each),
    )


def _rates(requests: object, tokens: object) -> dict[str, float]:
    pairs = (("requests_per_s", _number(requests)), ("output_tokens_per_s", _number(tokens)))
    return {name: value for name, value in pairs if value is not None}


_TAGS = {"ttft": "time_to_first_token", "tpot": "inter_token_latency", "e2e": "request_latency"}
_TO_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "seconds": 1e3, "us": 1e-3, "ns": 1e-6}


def _tagged(tree: Mapping[str, Any]) -> Measured:
    """Aiperf's and GenAI-Perf's files: metric -> unit, avg and percentiles."""
    points = {name: _points(tree[tag]) for name, tag in _TAGS.items() if isinstance(tree.get(tag), dict)}
    figures = {name: found for name, found in points.items() if found}

    def average(tag: str) -> float | None:
        return _number(tree[tag].get("avg")) if isinstance(tree.get(tag), dict) else None

    is_older = "genai" in str(tree.get("input_config", "")).lower()
    return Measured(
        "GenAI-Perf" if is_older else "aiperf",
        figures,
        _rates(average("request_throughput"), average("output_token_throughput")),
        _whole(average("request_count")),
        _whole(average("error_request_count")) or 0,
        input_tokens=average("input_sequence_length"),
        output_tokens=average("output_sequence_length"),
    )


def _points(metric: Mapping[str, Any]) -> dict[str, float]:
    scale = _TO_MS.get(str(metric.get("unit", "ms")).lower(), 1.0)
    points = {"mean" if key == "avg" else key: _number(value) for key, value in metric.items()}
    wanted = (at for at in points if at == "mean" or re.fullmatch(r"p\d+", at))
    return {at: value * scale for at in wanted if (value := points[at]) is not None}


_GUIDELLM = (
    ("ttft", "time_to_first_token_ms", 1.0),
    ("tpot", "inter_token_latency_ms", 1.0),
    ("e2e", "request_latency", 1e3),
)


def _guidellm(item: Mapping[str, Any]) -> Measured:
    metrics = item["metrics"]

    def successful(name: str) -> Mapping[str, Any]:
        found = metrics.get(name, {})
        return found.get("successful", {}) if isinstance(found, dict) else {}

    figures: dict[str, dict[str, float]] = {}
    for name, key, scale in _GUIDELLM:
        found = successful(key)
        points = {"mean": found.get("mean"), **(found.get("percentiles") or {})}
        shown = {re.sub(r"^p0(\d)$", r"p\1", at): _number(value) for at, value in points.items()}
        figures[name] = {at: value * scale for at, value in shown.items() if value is not None}
    streams = _number(successful("request_concurrency").get("mean"))
    return Measured(
        "GuideLLM",
        {name: points for name, points in figures.items() if points},
        _rates(successful("requests_per_second").get("mean"), successful("output_tokens_per_second").get("mean")),
        _whole(successful("request_latency").get("count")),
        concurrency=None if streams is None else round(streams),
        input_tokens=_number(successful("prompt_token_count").get("mean")),
        output_tokens=_number(successful("output_token_count").get("mean")),
    )
