"""Rankings and Pareto fronts over rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shardproof.solver.batch.rows import Row

Measure = Callable[[Row], float | None]


def gpus(row: Row) -> float | None:
    """GPUs of the plan."""
    return row.gpus


def price_per_hour(row: Row) -> float | None:
    """USD per hour of all GPUs."""
    return row.price_per_hour


def price_per_million_tokens(row: Row) -> float | None:
    """USD per million output tokens."""
    return row.price_per_million_tokens


def ttft(row: Row) -> float | None:
    """TTFT of the slowest request, seconds."""
    return row.ttft_s


@dataclass(frozen=True)
class Group:
    """Rows that a buyer compares: one model under one engine and one choice of every other swept value."""

    model: str
    engine: str
    swept: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """The group in words."""
        parts = [self.model, *([self.engine] if self.engine else []), *(f"{k} {v}" for k, v in self.swept)]
        return ", ".join(parts)


def groups(rows: Iterable[Row]) -> list[Group]:
    """Group rows by all but the device, in order of appearance."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Row]] = {}
    for row in rows:
        found.setdefault((row.model, row.engine, tuple(row.swept.items())), []).append(row)
    return [Group(*key, rows=tuple(members)) for key, members in found.items()]


def has_plan(row: Row) -> bool:
    """Whether the row holds a plan."""
    return row.status in ("optimal", "feasible")


def ranks(rows: Sequence[Row], measure: Measure) -> dict[str, int]:
    """Rank by a measure, 1 the least; equal values share a rank, rows without the value have none."""
    values = {row.task: value for row in rows if has_plan(row) and (value := measure(row)) is not None}
    ordered = sorted(values.values())
    return {task: ordered.index(value) + 1 for task, value in values.items()}


def ranked(rows: Iterable[Row], measure: Measure) -> list[Row]:
    """Rows with a plan, the least measure first; unknown values last; ties by GPUs, price and TTFT."""

    def key(row: Row) -> tuple[tuple[bool, float], ...]:
        values = (measure(row), row.gpus, row.price_per_hour, row.ttft_s)
        return tuple((value is None, value or 0.0) for value in values)

    return sorted((row for row in rows if has_plan(row)), key=key)


def front(rows: Iterable[Row], first: Measure, second: Measure) -> list[Row]:
    """Rows that no other row beats in both measures (less is better), by the first measure."""
    points = sorted(
        (
            (x, y, index, row)
            for index, row in enumerate(rows)
            if has_plan(row) and (x := first(row)) is not None and (y := second(row)) is not None
        ),
        key=lambda point: point[:3],
    )
    best, kept = float("inf"), []
    for _, y, _, row in points:
        if y < best:
            best = y
            kept.append(row)
    return kept
