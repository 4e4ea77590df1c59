"""Every catalogue model on every catalogue device, with the workload of the main case.

Each pair is solved, its certificate written as JSON, and the JSON judged by the checker, each step timed apart.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.solve.timing import Timed, timed
from shardproof.instances.catalogue import device_names, model_names
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.proof.certificate import certificate_document
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings

WORKLOAD: dict[str, Any] = {
    "workload": {"kind": "burst", "batch_size": 128, "input_tokens": 2048, "output_tokens": 2048},
    "limits": {"ttft": "30 s"},
}
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Row:
    """One pair; what was not reached (a refused instance, no proof to write) is ``None``.

    ``gaps``: (value - bound) / value of each level that has both. Rounding times to nanoseconds leaves some 1e-9.
    """

    model: str
    device: str
    status: str
    gpus: int | None = None
    bound: int | None = None
    solve: Timed | None = None
    certificate: Timed | None = None
    certificate_bytes: int | None = None
    check: Timed | None = None
    gaps: dict[str, float] | None = None
    refused: str | None = None


def pairs(*, every: int = 1, models: Sequence[str] = (), devices: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return all pairs of the names given (none: all of the catalogue), or each ``every``-th of them."""
    found = [(m, d) for m in models or model_names() for d in devices or device_names()]
    return found[::every]


def measure(chosen: Sequence[tuple[str, str]], *, time_limit_s: float | None = None) -> Iterator[Row]:
    """Measure pair by pair."""
    for model, device in chosen:
        try:
            instance = resolve_tree({"model": model, "device": device, **WORKLOAD}, where=f"{model} on {device}")
        except InputError as error:
            yield Row(model, device, "refused", refused=str(error))
            continue
        yield measure_one(instance, model, device, time_limit_s=time_limit_s)


def measure_one(instance: Instance, model: str, device: str, *, time_limit_s: float | None = None) -> Row:
    """Solve one instance, write its certificate and check it.

    Raises
    ------
    CheckError
        If the checker refuses the certificate.
    """
    settings = Settings(time_limit_s=time_limit_s, certify=False)
    result, solving = timed(lambda: answer(instance, settings=settings))
    row = Row(model, device, result.status, result.gpus, result.bound, solving, gaps=_gaps(result))
    if result.status == "undecided":
        return row
    raw, writing = timed(lambda: _certificate(result, result.question or instance))
    _, checking = timed(lambda: checker.check(raw))
    fields = {name: getattr(row, name) for name in Row.__dataclass_fields__}
    return Row(**fields | {"certificate": writing, "certificate_bytes": len(raw), "check": checking})


def _gaps(result: Result) -> dict[str, float]:
    return {
        name: (level.value - level.bound) / level.value
        for name, level in result.levels.items()
        if level.value and level.bound is not None
    }


def _certificate(result: Result, instance: Instance) -> bytes:
    assert result.evidence is not None
    document = certificate_document(result.evidence, instance)
    return json.dumps(document, separators=(",", ":")).encode()


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return counts, medians and maxima over all pairs; times in seconds."""
    solved = [row for row in rows if row.solve is not None]
    written = [row for row in rows if row.certificate is not None]
    slowest = sorted(solved, key=lambda row: -_cpu(row.solve))[:10]
    return {
        "pairs": len(rows),
        "status": dict(Counter(row.status for row in rows)),
        "all_proven": all(row.status in ("optimal", "infeasible", "refused") for row in rows),
        "largest_gaps": {name: _largest_gap(solved, name) for name in ("gpus", "ttft", "memory")},
        "solve": _spread([row.solve for row in solved]),
        "certificate": _spread([row.certificate for row in written]),
        "check": _spread([row.check for row in written]),
        "certificate_bytes": _size([row.certificate_bytes or 0 for row in written]),
        "slowest": [asdict(row) for row in slowest],
    }


def _largest_gap(rows: Sequence[Row], level: str) -> float | None:
    return max((row.gaps[level] for row in rows if row.gaps and level in row.gaps), default=None)


def _spread(times: Sequence[Timed | None]) -> dict[str, float] | None:
    known = [item for item in times if item is not None]
    if not known:
        return None
    wall, cpu = [item.wall_s for item in known], [item.cpu_s for item in known]
    return {
        "median_wall_s": median(wall),
        "max_wall_s": max(wall),
        "median_cpu_s": median(cpu),
        "max_cpu_s": max(cpu),
    }


def _size(sizes: Sequence[int]) -> dict[str, float] | None:
    return {"median": median(sizes), "max": max(sizes)} if sizes else None


def _cpu(times: Timed | None) -> float:
    return 0.0 if times is None else times.cpu_s
