"""Windows of the runs: whether replicas can do what is due in them, and how many requests must be late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from shardproof.formulations.open_loop import allowed_late
from shardproof.solver.open_loop.facts import OpenScenario
from shardproof.solver.open_loop.windows import Demand

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Works(Protocol):
    """What requests cost at least, in time of a server."""

    def prompts(self, open_: OpenScenario, run: int) -> Floats:
        """Time for each prompt of a run, ns."""

    def tokens(self, open_: OpenScenario, run: int, limit: float | None) -> Floats:
        """Time for each request's tokens after the first under a mean time per token, ns."""


class WindowTest:
    """Whether windows of the runs hold the work that is due in them."""

    def __init__(self, works: Works, open_: OpenScenario) -> None:
        """Take what requests cost, and the scenario; runs are looked at when they are needed."""
        self.works, self.open_ = works, open_
        self._made: dict[int, list[tuple[Demand, int]]] = {}
        self._known: dict[int, bool] = {}

    def refuses(self, servers: int) -> bool:
        """Whether in every run some limit is missed by more requests than may miss it."""
        if servers not in self._known:
            places = range(len(self.open_.runs))
            forced = (any(demand.forces(servers, late) for demand, late in self.demands(at)) for at in places)
            self._known[servers] = all(forced)
        return self._known[servers]

    def demands(self, place: int) -> list[tuple[Demand, int]]:
        """Demands that the limits make in a run, and how many requests may be late in each."""
        if place not in self._made:
            self._made[place] = list(self._of_run(place))
        return self._made[place]

    def _of_run(self, place: int) -> Iterator[tuple[Demand, int]]:
        open_, needs, run = self.open_, self.open_.needs, self.open_.runs[place]
        later, count = run.asked.later, len(run.arrivals)
        prompts = self.works.prompts(open_, place)
        for first in needs.first:
            yield Demand(run.arrivals, run.arrivals + first.limit, prompts), allowed_late(first.share, count)
            for token in needs.token:
                due = run.arrivals + first.limit + later * token.limit
                work = prompts + self.works.tokens(open_, place, token.limit)
                yield Demand(run.arrivals, due, work), allowed_late(needs.both(first, token), count)
        for whole in needs.whole:
            work = prompts + self.works.tokens(open_, place, None)
            yield Demand(run.arrivals, run.arrivals + whole.limit, work), allowed_late(whole.share, count)
