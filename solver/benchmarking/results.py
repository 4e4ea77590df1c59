"""Results of four benchmark tools, read as one record: figures in ms by percentile, rates per second.

``tpot`` is one value a request, the first token left out: vLLM's tpot, the inter_token_latency of aiperf and
GenAI-Perf, and GuideLLM's inter_token_latency_ms (its time_per_output_token_ms counts the first token too).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from shardproof.instances.reading import check_nesting, refuse
from shardproof.solver.benchmarking.measured import FIGURES, Measured, mapping, number, rates, whole
from shardproof.solver.benchmarking.reports import read_report

__all__ = ["FIGURES", "Measured", "read_results"]

LONGEST = 200_000_000
"""Bytes of a result that are read."""

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]
    """Reads what tools write: aliases stay one object, and merged keys, which no tool writes, cannot multiply."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merged keys."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "merged keys are not read", node.start_mark)


def read_results(path: Path) -> tuple[Measured, ...]:
    """Read a tool's file: one run, or (GuideLLM, appended results, reports of several) more.

    Raises
    ------
    InputError
        If it is of no tool that is known.
    """
    found = tuple(run for tree in _trees(path) for run in _runs(tree) if run.figures)
    if not found:
        remedy = (
            "is no result of vllm bench serve, aiperf, GuideLLM or GenAI-Perf, nor a benchmark report; give the file"
            " that one of them wrote"
        )
        raise refuse(str(path), remedy)
    return found


def _runs(tree: Mapping[str, Any]) -> tuple[Measured, ...]:
    report = read_report(tree)
    if report is not None:
        return (report,)
    if isinstance(tree.get("benchmarks"), list):
        return tuple(_guidellm(item) for item in tree["benchmarks"] if isinstance(item, dict) and "metrics" in item)
    if "request_throughput" in tree and number(tree.get("mean_ttft_ms")) is not None:
        return (_vllm(tree),)
    tagged = _by_tag(tree)
    return (_tagged(tagged),) if isinstance(tagged.get("time_to_first_token"), dict) else ()


def _trees(path: Path) -> list[dict[str, Any]]:
    """Read a JSON object, JSON lines (results that were appended), or YAML; plain numbers, as the tools write them."""
    text = _text(path)
    try:
        if path.suffix.lower() in (".yaml", ".yml"):
            check_nesting(text, str(path))
            found = list(yaml.load_all(text, Loader=_Loader))
        else:
            found = _json(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        remedy = (
            "is no JSON or YAML; give the file that vllm, aiperf, GuideLLM, GenAI-Perf or a report's converter wrote"
        )
        raise refuse(str(path), remedy) from None
    return [tree for tree in found if isinstance(tree, dict)]


def _text(path: Path) -> str:
    """Read a file; with every request's times in it, it may be long."""
    try:
        if path.stat().st_size > LONGEST:
            raise refuse(str(path), f"is larger than {LONGEST // 10**6} MB; save the run without each request's times")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise refuse(str(path), f"cannot be read ({error.strerror}); give the file that a tool wrote") from None
    except UnicodeDecodeError:
        raise refuse(str(path), "is no text; give the file that a tool wrote") from None


def _json(text: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [json.loads(line) for line in lines]


def _vllm(tree: Mapping[str, Any]) -> Measured:
    figures: dict[str, dict[str, float]] = {}
    for name, key in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("e2e", "e2el")):
        found = {"mean": number(tree.get(f"mean_{key}_ms")), "p50": number(tree.get(f"median_{key}_ms"))}
        for field, value in tree.items():
            match = re.fullmatch(rf"p(\d+(?:\.\d+)?)_{key}_ms", str(field))
            if match is not None:
                found[f"p{match[1]}"] = number(value)
        kept = {at: value for at, value in found.items() if value is not None}
        figures |= {name: kept} if kept else {}
    completed, rate = whole(tree.get("completed")), number(tree.get("request_rate"))
    each = [number(tree.get(f"total_{side}_tokens")) for side in ("input", "output")]
    return Measured(
        "vllm bench serve",
        figures,
        rates(tree.get("request_throughput"), tree.get("output_throughput")),
        completed,
        whole(tree.get("failed")) or 0,
        whole(tree.get("max_concurrency")),
        None if rate is None or rate == float("inf") else rate,
        *(None if total is None or not completed else total / completed for total in each),
    )


_TAGS = {"ttft": "time_to_first_token", "tpot": "inter_token_latency", "e2e": "request_latency"}
_TO_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "seconds": 1e3, "us": 1e-3, "ns": 1e-6}


def _by_tag(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metrics by tag: at the top, or (aiperf before 0.2) under ``records``, where tags were shorter."""
    records = tree.get("records", tree)
    if isinstance(records, list):
        records = {str(one.get("tag")): one for one in records if isinstance(one, dict)}
    found = {**tree, **records} if isinstance(records, Mapping) else dict(tree)
    return found | {long: found[short] for short, long in _SHORT.items() if short in found and long not in found}


_SHORT = {
    "ttft": "time_to_first_token",
    "num_input_token": "input_sequence_length",
    "num_output_token": "output_sequence_length",
}
"""Tags of older versions."""


def _tagged(tree: Mapping[str, Any]) -> Measured:
    """Aiperf's and GenAI-Perf's files: metric -> unit, avg and percentiles."""
    points = {name: _points(tree[tag]) for name, tag in _TAGS.items() if isinstance(tree.get(tag), dict)}
    figures = {name: found for name, found in points.items() if found}

    def average(tag: str) -> float | None:
        return number(tree[tag].get("avg")) if isinstance(tree.get(tag), dict) else None

    is_older = "genai" in str(tree.get("input_config", "")).lower()
    return Measured(
        "GenAI-Perf" if is_older else "aiperf",
        figures,
        rates(average("request_throughput"), average("output_token_throughput")),
        whole(average("request_count")),
        whole(average("error_request_count")) or 0,
        input_tokens=average("input_sequence_length"),
        output_tokens=average("output_sequence_length"),
    )


def _points(metric: Mapping[str, Any]) -> dict[str, float]:
    scale = _TO_MS.get(str(metric.get("unit", "ms")).lower(), 1.0)
    points = {"mean" if key == "avg" else key: number(value) for key, value in metric.items()}
    wanted = (at for at in points if at == "mean" or re.fullmatch(r"p\d+", at))
    return {at: value * scale for at in wanted if (value := points[at]) is not None}


def _percentile(at: str) -> str:
    """GuideLLM writes p001 for 0.1 %, p05 for 5 %, p999 for 99.9 %."""
    if re.fullmatch(r"p\d{3}", at):
        return f"p{int(at[1:]) / 10:g}"
    return re.sub(r"^p0(\d)$", r"p\1", at)


_GUIDELLM = (
    ("ttft", "time_to_first_token_ms", 1.0),
    ("tpot", "inter_token_latency_ms", 1.0),
    ("e2e", "request_latency", 1e3),
)


def _guidellm(item: Mapping[str, Any]) -> Measured:
    metrics = mapping(item["metrics"])

    def successful(name: str) -> Mapping[str, Any]:
        return mapping(mapping(metrics.get(name)).get("successful"))

    figures: dict[str, dict[str, float]] = {}
    for name, key, scale in _GUIDELLM:
        found = successful(key)
        points = {"p50": found.get("median"), "mean": found.get("mean"), **mapping(found.get("percentiles"))}
        shown = {_percentile(str(at)): number(value) for at, value in points.items()}
        figures[name] = {at: value * scale for at, value in shown.items() if value is not None}
    streams = number(successful("request_concurrency").get("mean"))
    return Measured(
        "GuideLLM",
        {name: points for name, points in figures.items() if points},
        rates(successful("requests_per_second").get("mean"), successful("output_tokens_per_second").get("mean")),
        whole(successful("request_latency").get("count")),
        concurrency=None if streams is None else round(streams),
        input_tokens=number(successful("prompt_token_count").get("mean")),
        output_tokens=number(successful("output_token_count").get("mean")),
    )
