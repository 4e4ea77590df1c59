"""Windows of time into which more work falls than they can hold: how many requests must be late, at least.

Work that arrives in a window and is due in it is done in it. Requests taken in the order of their arrival, from the
i-th on, form windows of geometrically growing counts; in each the fewest requests are counted, as large as its largest,
that would have to be left out. Windows apart add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

_EVERY = 24
_GROWTH = 1.15
_MOST_WINDOWS = 5000
"""Windows that are looked at together: those that force the most for their length."""


@dataclass(frozen=True)
class Window:
    """A window of one run: its span, ns after the first arrival, its first and last request, and their work, ns."""

    start: float
    stop: float
    first: int
    last: int
    work: float
    late: int


def counts_up_to(most: int) -> list[int]:
    """Counts of requests that windows hold: every small one, then geometrically more."""
    found = list(range(1, min(_EVERY, most) + 1))
    while found and found[-1] < most:
        found.append(min(most, int(found[-1] * _GROWTH) + 1))
    return found


class Demand:
    """Requests of one run with their work: arrivals ascending, due moments, work of a replica; all ns."""

    def __init__(self, arrivals: Floats, due: Floats, work: Floats) -> None:
        """Take one entry for each request."""
        self.arrivals, self.due, self.work = arrivals, due, work

    @cached_property
    def _sized(self) -> list[tuple[int, Floats, Floats]]:
        """Windows by how many requests they hold: the count, their spans, and their work, by first request."""
        import numpy as np

        total = np.concatenate([[0.0], np.cumsum(self.work)])
        due, size = _Maxima(self.due), len(self.work)
        return [
            (count, due.over(count) - self.arrivals[: size - count + 1], total[count:] - total[: size - count + 1])
            for count in counts_up_to(size)
        ]

    @cached_property
    def _windows(self) -> _Windows:
        import numpy as np

        largest, parts = _Maxima(self.work), []
        for count, spans, works in self._sized:
            first = np.arange(len(spans))
            parts.append((first, np.full(len(first), count), spans, works, largest.over(count)))
        return _Windows(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    @cached_property
    def least_servers(self) -> float:
        """Replicas without which some request must be late."""
        return max(float((works / spans).max()) for _, spans, works in self._sized)

    def forces(self, servers: float, allowed: int) -> bool:
        """Whether ``servers`` replicas must leave more than ``allowed`` requests late."""
        if servers >= self.least_servers:
            return False
        over, forced = self._forced(servers)
        if not len(over) or int(forced.max()) > allowed:
            return bool(len(over))
        return sum(window.late for window in self._apart(over, forced)) > allowed

    def late(self, servers: float) -> list[Window]:
        """Windows apart in which ``servers`` replicas must leave requests late, as many as are found."""
        over, forced = self._forced(servers)
        return self._apart(over, forced) if len(over) else []

    def _forced(self, servers: float) -> tuple[Places, Places]:
        """Windows that hold more than they can, and how many requests each forces to be late."""
        import numpy as np

        windows = self._windows
        excess = windows.work - servers * windows.span
        over = np.flatnonzero(excess > windows.work * 1e-9)
        forced = np.ceil(excess[over] / windows.largest[over] * (1 - 1e-9)).astype(np.int64)
        if len(over) > _MOST_WINDOWS:
            dense = np.argsort(-forced / windows.span[over], kind="stable")[:_MOST_WINDOWS]
            over, forced = over[dense], forced[dense]
        return over, forced

    def _apart(self, over: Places, forced: Places) -> list[Window]:
        """Choose windows that do not overlap and force the most requests to be late."""
        import numpy as np

        windows, size = self._windows, len(self.arrivals)
        first = windows.first[over]
        ends = np.searchsorted(self.arrivals, self.arrivals[first] + windows.span[over], side="left")
        best, chosen, reached = [0] * (size + 1), [-1] * (size + 1), 0
        for place in np.argsort(ends, kind="stable").tolist():
            end = int(ends[place])
            for at in range(reached + 1, end + 1):
                best[at] = best[at - 1]
            reached = end
            value = best[int(first[place])] + int(forced[place])
            if value > best[end]:
                best[end], chosen[end] = value, place
        found, at = [], reached
        while at > 0:
            if best[at] == best[at - 1]:
                at -= 1
                continue
            found.append(self._window(int(over[chosen[at]]), int(forced[chosen[at]])))
            at = found[-1].first
        return found[::-1]

    def _window(self, place: int, late: int) -> Window:
        windows = self._windows
        first = int(windows.first[place])
        start = float(self.arrivals[first])
        last = first + int(windows.count[place]) - 1
        return Window(start, start + float(windows.span[place]), first, last, float(windows.work[place]), late)


@dataclass(frozen=True)
class _Windows:
    """Windows of a run, one entry each: first request, requests, length, work, and its largest request's work."""

    first: Places
    count: Places
    span: Floats
    work: Floats
    largest: Floats


class _Maxima:
    """Largest values over runs of neighbours."""

    def __init__(self, values: Floats) -> None:
        self._levels = [values]

    def over(self, count: int) -> Floats:
        """Largest of every ``count`` neighbours."""
        import numpy as np

        level = count.bit_length() - 1
        while len(self._levels) <= level:
            last, step = self._levels[-1], 1 << (len(self._levels) - 1)
            self._levels.append(np.maximum(last[:-step], last[step:]))
        part, step = self._levels[level], 1 << level
        size = len(self._levels[0]) - count + 1
        return np.maximum(part[:size], part[count - step : count - step + size])
