"""One figure of the fidelity report: an error over a count of rows, held against its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """Absolute relative errors of one kind of prediction.

    ``median`` and ``p90`` are shares (0.06 is 6 %); ``share`` is that of rows to which something happens; ``target``
    is the share to reach and names which statistic it binds in ``statistic``; ``note`` says what was left out and why.
    """

    name: str
    count: int
    median: float | None
    p90: float | None
    target: float | None = None
    statistic: str = "median"
    note: str = ""
    p95: float | None = None
    worst: float | None = None
    share: float | None = None


def quantile(values: Sequence[float], share: float) -> float | None:
    """Linear-interpolation quantile; ``None`` without values."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def figure(
    name: str, errors: Sequence[float], *, target: float | None = None, statistic: str = "median", note: str = ""
) -> Figure:
    """Summarise signed or absolute relative errors."""
    absolute = [abs(error) for error in errors]
    return Figure(
        name=name,
        count=len(absolute),
        median=quantile(absolute, 0.5),
        p90=quantile(absolute, 0.9),
        target=target,
        statistic=statistic,
        note=note,
        p95=quantile(absolute, 0.95),
        worst=max(absolute, default=None),
    )


def share_figure(name: str, happened: Sequence[bool], *, target: float | None = None, note: str = "") -> Figure:
    """Summarise how many rows something happens to."""
    count = len(happened)
    share = sum(happened) / count if count else None
    return Figure(name, count, None, None, target=target, statistic="share", note=note, share=share)
