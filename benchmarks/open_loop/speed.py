"""Open loops on pairs of the catalogue: how long `solve` takes, and how far the bound lies from the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.solve.timing import Timed, timed
from shardproof.instances.errors import InputError
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.search.settings import Settings

QUESTION: dict[str, Any] = {
    "engine": "vllm",
    "workload": {"kind": "requests", "rate": "10/s", "input_tokens": 2048, "output_tokens": 256},
    "limits": {"ttft": {"p99": "3 s"}, "tpot": {"p99": "60 ms"}},
}


@dataclass(frozen=True)
class Row:
    """One pair: status, GPUs, their bound, and the time of `solve` (``None``: the question was refused)."""

    model: str
    device: str
    status: str
    gpus: int | None = None
    bound: int | None = None
    time: Timed | None = None


def measure(pairs: Sequence[tuple[str, str]], *, time_limit_s: float | None = None) -> Iterator[Row]:
    """Solve pair by pair."""
    for model, device in pairs:
        try:
            instance = resolve_tree({"model": model, "device": device, **QUESTION}, where=f"{model} on {device}")
            found, time = timed(lambda one=instance: answer(one, settings=Settings(time_limit_s=time_limit_s)))  # type: ignore[misc]
        except InputError:
            yield Row(model, device, "refused")
            continue
        yield Row(model, device, found.status, found.gpus, found.bound, time)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return counts, times and gaps over all pairs."""
    times = [row.time for row in rows if row.time is not None]
    planned = [row for row in rows if row.gpus is not None and row.bound is not None]
    ratios = [row.bound / row.gpus for row in planned if row.gpus and row.bound]
    return {
        "pairs": len(rows),
        "status": dict(Counter(row.status for row in rows)),
        "median_wall_s": median(item.wall_s for item in times) if times else None,
        "median_cpu_s": median(item.cpu_s for item in times) if times else None,
        "max_cpu_s": max((item.cpu_s for item in times), default=None),
        "median_bound_over_gpus": median(ratios) if ratios else None,
        "slowest": [
            f"{row.model} on {row.device}: {row.time.cpu_s:.1f} s"
            for row in sorted((row for row in rows if row.time), key=lambda row: -row.time.cpu_s)[:5]  # type: ignore[union-attr]
            if row.time
        ],
    }
