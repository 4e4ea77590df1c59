"""What a simulated service showed: percentiles with intervals over seeds, goodput, queue and cache over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

from shardproof.solver.simulation.replica import Sample, Served

if TYPE_CHECKING:
    import numpy as np

QUANTILES = (50, 90, 95, 99)
FIGURES = ("ttft", "tpot", "itl", "e2e")
_ATTRIBUTES = {"ttft": "ttft", "tpot": "tpot", "e2e": "latency"}


@dataclass(frozen=True)
class Interval:
    """A figure over seeds: mean of the runs, and the interval that holds their mean with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Run:
    """One seed: every request as it was served, token gaps (ns, how many), samples of every replica."""

    served: tuple[Served, ...]
    gaps: tuple[tuple[float, int], ...]
    samples: tuple[tuple[Sample, ...], ...]
    preemptions: int
    finished_at: float

    @cached_property
    def finished(self) -> list[Served]:
        """Requests that were answered to their end."""
        return [item for item in self.served if item.finished is not None]

    @cached_property
    def _values(self) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
        import numpy as np

        return {
            figure: np.array([getattr(item, name) for item in self.finished], dtype=np.float64)
            for figure, name in _ATTRIBUTES.items()
        }

    def values(self, figure: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Values of a figure over the finished requests, ns."""
        return self._values[figure]

    def quantile(self, figure: str, percent: float) -> float:
        """The smallest value that ``percent`` of the requests (for ``itl``: of the tokens) do not exceed, ns."""
        if figure == "itl":
            return _weighted(self.gaps, percent)
        found = self.values(figure)
        return upper_quantile(found, percent)

    def mean(self, figure: str) -> float:
        """Mean of a figure, ns."""
        if figure == "itl":
            count = sum(weight for _, weight in self.gaps)
            return sum(gap * weight for gap, weight in self.gaps) / count if count else 0.0
        found = self.values(figure)
        return float(found.mean()) if len(found) else float("nan")

    def share_within(self, limits: dict[str, float]) -> float:
        """Share of all requests, refused ones included, that keep every limit (figure to ns)."""
        import numpy as np

        kept = np.ones(len(self.finished), dtype=bool)
        for figure, limit in limits.items():
            kept &= self.values(figure) <= limit
        return int(kept.sum()) / len(self.served) if self.served else 1.0

    def waiting(self, moment: float) -> int:
        """Requests that have come by a moment and have no first token yet, refused ones left out."""
        return sum(
            item.request.arrival_ns <= moment and not item.refused and (item.first_token or moment + 1) > moment
            for item in self.served
        )

    @property
    def is_overloaded(self) -> bool:
        """Whether requests pile up for as long as they come.

        Of all that came a twentieth or more (and twenty) wait at the end, and half as many again as at half-time.
        """
        last = max((item.request.arrival_ns for item in self.served), default=0)
        if not last:
            return False
        ends = self.waiting(last)
        return ends >= max(20, len(self.served) / 20) and ends >= 1.5 * self.waiting(last / 2)

    @property
    def refused(self) -> int:
        """Requests longer than the cache."""
        return sum(item.refused for item in self.served)


def upper_quantile(values: Any, percent: float) -> float:
    """Order statistic ``ceil(q n)`` of some values: at least ``percent`` of them do not exceed it."""
    import numpy as np

    if not len(values):
        return float("nan")
    place = max(1, -(-len(values) * percent // 100)) - 1
    return float(np.partition(values, int(place))[int(place)])


def _weighted(gaps: Sequence[tuple[float, int]], percent: float) -> float:
    total, seen = sum(weight for _, weight in gaps), 0
    for gap, weight in sorted(gaps):
        seen += weight
        if seen * 100 >= total * percent:
            return gap
    return float("nan")


def interval(values: Sequence[float]) -> Interval:
    """Mean of some runs and its confidence interval by Student's t (one run: the value alone)."""
    import statistics

    mean = statistics.fmean(values)
    if not isfinite(mean):  # a figure that no request has
        return Interval(mean, mean, mean)
    if len(values) < 2:
        return Interval(mean, mean, mean)
    half = _student(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return Interval(mean, mean - half, mean + half)


def least_high(values: Sequence[float], count: int) -> float:
    """Smallest upper end that the interval over ``count`` runs may come to, whatever (not below 0) the others show.

    With the others all :math:`d` below the mean m of the k known, the upper end is
    :math:`m - r d / n + c \\sqrt{S + k r d^2 / n}`, convex in d.
    """
    import statistics

    known, left, mean = len(values), count - len(values), statistics.fmean(values)
    if not isfinite(mean) or left <= 0:
        return interval(values).high
    half, squares = _student(count - 1) / (count * (count - 1)) ** 0.5, sum((value - mean) ** 2 for value in values)
    weight, fall = known * left / count, left / count
    room = half**2 * weight**2 - weight * fall**2
    down = mean if room <= 0 else min(mean, fall * (squares / room) ** 0.5)
    return float(mean - fall * down + half * (squares + weight * down**2) ** 0.5)


_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def _student(degrees: int) -> float:
    """97.5 % quantile of Student's t distribution (standard tables; beyond 15 degrees that of the normal, raised)."""
    return _T95[degrees - 1] if degrees <= len(_T95) else 1.96 + 2.4 / degrees


def side_by_side(first: Run, second: Run) -> Run:
    """Return two runs that were served at the same time by replicas of their own as one."""
    return Run(
        served=first.served + second.served,
        gaps=first.gaps + second.gaps,
        samples=first.samples + second.samples,
        preemptions=first.preemptions + second.preemptions,
        finished_at=max(first.finished_at, second.finished_at),
    )


@dataclass(frozen=True)
class Outcome:
    """A simulated workload over all seeds."""

    scenario: str
    runs: tuple[Run, ...]
    limits: dict[str, float]
    """Limits of goodput: figure to ns."""

    def figure(self, name: str, percent: float | None) -> Interval:
        """A figure's percentile, or its mean (``None``), over the seeds, ns."""
        runs = self.runs
        return interval([run.mean(name) if percent is None else run.quantile(name, percent) for run in runs])

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``simulate --json``; times in ms."""
        document: dict[str, Any] = {"scenario": self.scenario, "seeds": len(self.runs), "requests": self._count()}
        for name in FIGURES:
            points = {"mean": None, **{f"p{percent}": percent for percent in QUANTILES}}
            document[f"{name}_ms"] = {key: _shown(self.figure(name, at)) for key, at in points.items()}
        document["throughput"] = self.throughput()
        document["goodput"] = [run.share_within(self.limits) for run in self.runs] if self.limits else None
        document["overloaded"] = self.is_overloaded
        document["refused"] = sum(run.refused for run in self.runs)
        document["preemptions"] = sum(run.preemptions for run in self.runs)
        document["over_time"] = [self.over_time(place) for place in range(len(self.runs[0].samples))]
        return document

    @property
    def is_overloaded(self) -> bool:
        """Whether requests pile up in most runs."""
        return sum(run.is_overloaded for run in self.runs) * 2 > len(self.runs)

    def throughput(self) -> dict[str, float]:
        """Requests and tokens per second over the first run."""
        run = self.runs[0]
        seconds = run.finished_at / 1e9 or 1.0
        written = sum(item.request.output_tokens for item in run.finished)
        read = sum(item.request.input_tokens for item in run.finished)
        return {
            "requests_per_s": len(run.finished) / seconds,
            "input_tokens_per_s": read / seconds,
            "output_tokens_per_s": written / seconds,
        }

    def _count(self) -> int:
        return len(self.runs[0].served)

    def over_time(self, replica: int) -> dict[str, list[float]]:
        """Thin the samples of a replica to 200 points."""
        samples = self.runs[0].samples[replica]
        kept = samples[:: max(1, len(samples) // 200)]
        return {
            "time_s": [round(item.time / 1e9, 6) for item in kept],
            "running": [item.running for item in kept],
            "waiting": [item.waiting for item in kept],
            "cached_tokens": [item.cached_tokens for item in kept],
        }


def _shown(found: Interval) -> dict[str, float | None]:
    """Return an interval in ms; ``None`` where no request has the figure."""
    known = {"value": found.value, "low": found.low, "high": found.high}
    return {name: value / 1e6 if isfinite(value) else None for name, value in known.items()}
