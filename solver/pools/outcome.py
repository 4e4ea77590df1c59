"""From what is known of kinds to a fleet and its bound: the cheapest, or the largest multiple of the demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from shardproof.formulations.pools.problem import Load, PoolsProblem
from shardproof.formulations.pools.relaxation import relaxed
from shardproof.formulations.pools.rows import row_of
from shardproof.instances.clock import now
from shardproof.solver.pools.knowledge import Knowledge
from shardproof.solver.pools.search import OutOfTimeError, PoolsSearch, Realised
from shardproof.solver.pools.told import Told
from shardproof.solver.pools.tree import Tree, TreeSearch

SEARCHED = 0.7
"""Share of the time in which the cheapest fleet is looked for; the rest makes it real and proves it."""
BOUNDED = 0.4
"""... and where capacities are found by playing: in which a bound is looked for; the rest is for playing."""
MOST_MULTIPLE = 1_000_000
"""Largest multiple that is looked for, in steps of the resolution."""


@dataclass(frozen=True)
class Asked:
    """Which question: least cost, or the most load in steps of 1 / ``resolution`` of the demand."""

    demand: Load
    most_load: bool = False
    resolution: int = 100

    def demand_of(self, multiple: int) -> Load:
        """Demand of so many steps, rounded up."""
        return tuple(-(-asked * multiple // self.resolution) for asked in self.demand)


@dataclass(frozen=True)
class PoolsOutcome:
    """A fleet with its value, the bound, and the tree over the kinds of ``refuted``, which proves ``certified``.

    Bounds are ``None`` where no fleet exists; where ``certified`` is less than ``bound``, CP-SAT says the rest
    (``claimed``).
    """

    fleet: Realised | None
    value: int | None
    bound: int | None
    certified: int | None
    refuted: PoolsProblem
    tree: Tree | None
    claimed: bool
    out_of_time: bool

    @property
    def infeasible(self) -> bool:
        """Whether it is known that there is no fleet."""
        return self.fleet is None and self.bound is None and (self.tree is not None or self.claimed)


@dataclass(frozen=True)
class PoolsSettings:
    """How long to search, with how many workers."""

    seconds: float | None = None
    workers: int = 2
    seed: int = 0
    told: Told | None = None
    """Who is told how far the search is."""


@dataclass(frozen=True)
class Refuted:
    """Costs that no fleet of a problem has: the least that is ``certified`` by the tree (none: nothing is)."""

    problem: PoolsProblem
    certified: int | None
    tree: Tree | None

    def proves(self, floor: Realised | None) -> bool:
        """Whether the tree proves what a search came to."""
        return self.tree is not None and self.certified == (None if floor is None else floor.cost)


Realise = Callable[[PoolsSearch, Realised | None], Realised | None]
"""From a fleet on what nothing excludes to one that exists (costs are rounded there and here).

Where capacities are found by playing, there may be none to begin with.
"""


class Pursuit:
    """Takes one question to its answer."""

    def __init__(
        self,
        knowledge: Knowledge,
        asked: Asked,
        settings: PoolsSettings,
        realise: Realise,
        found: Callable[[], Knowledge] | None = None,
    ) -> None:
        """Take what is known, the question, who makes fleets real, and what was ``found`` where bounds are others."""
        self.knowledge, self.asked, self.settings, self._realise = knowledge, asked, settings, realise
        self._found = found
        self._end = None if settings.seconds is None else now() + settings.seconds
        self.out_of_time = False

    def run(self) -> PoolsOutcome:
        """Search, prove, and say what is known."""
        return self._most() if self.asked.most_load else self._least()

    def _search(self, share: float = 1.0) -> PoolsSearch:
        stop_at = None
        if self._end is not None:
            moment = now()
            stop_at = moment + (self._end - moment) * share
        return PoolsSearch(self.knowledge, self.settings.workers, self.settings.seed, stop_at)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        try:
            yield
        except OutOfTimeError:
            self.out_of_time = True

    def _least(self) -> PoolsOutcome:
        self.knowledge.demand = self.asked.demand
        search, fleet = self._search(SEARCHED if self._found is None else BOUNDED), None
        search.watch = None if self.settings.told is None else partial(self._watch, self.settings.told)
        floor, done, refuted = self._searched(search)
        if floor is not None:
            fleet = self._finished(search, floor)
        if done and floor is None:
            return self._outcome(search, None, None, refuted)
        if fleet is None:
            fleet = self._in_haste(search, floor)
        if fleet is not None and self.settings.told is not None:
            self.settings.told.fleet(fleet.cost)
        wanted = None if floor is None else floor.cost
        if wanted is None and fleet is None:
            return replace(self._outcome(search, None, 1, None), fleet=None, out_of_time=True)
        return self._outcome(search, fleet, wanted if wanted is not None else fleet.cost if fleet else 0, refuted)

    def _watch(self, told: Told, search: PoolsSearch, cost: int) -> None:
        """Tell a bound and, where what is known to be carried is so, a fleet of it."""
        told.at_least(cost)
        if self._found is None:
            told.look(search.glance)

    def _in_haste(self, search: PoolsSearch, floor: Realised | None) -> Realised | None:
        """Return a fleet of what is known by now: the search was not done, or what it found does not exist."""
        search.stop_at = self._end
        if self._found is not None:
            return self._realise(search, None) if floor is None else None
        fleet = None
        with self._timed():
            fleet = search.confirmed()
        return None if fleet is None else self._realise(search, fleet)

    def _searched(self, search: PoolsSearch) -> tuple[Realised | None, bool, Refuted | None]:
        """Search by proposals; where the tree does not prove what they come to, once more with CP-SAT."""
        floor, done, refuted = None, False, None
        with self._timed():
            floor = search.run()
            done = True
        if done:
            until = self._end if self._found is None else search.stop_at
            refuted = self._refuted(search, None if floor is None else floor.cost, until)
            if not refuted.proves(floor):
                search.proposing, done = False, False
                with self._timed():
                    floor = search.run()
                    done = True
                refuted = None if done else refuted
        return floor, done, refuted

    def _refuted(self, search: PoolsSearch, wanted: int | None, until: float | None) -> Refuted:
        problem = self.knowledge.problem()
        found = TreeSearch(search, problem, until).run(wanted)
        return Refuted(problem, *((0, None) if found is None else found))

    def _finished(self, search: PoolsSearch, floor: Realised) -> Realised | None:
        """Return the fleet with fewest kinds at its cost, made real."""
        best = self._realise(search, floor)
        if self._found is not None:
            return best
        with self._timed():
            paid_by_node = any(supply.by_node for supply in floor.problem.supplies)
            fewer = search.run(cost=floor.cost) if len(floor.groups) > 1 or paid_by_node else None
            if fewer is not None and (len(fewer.groups) < len(floor.groups) or paid_by_node):
                best = self._realise(search, fewer) or best
        return best

    def _outcome(
        self, search: PoolsSearch, fleet: Realised | None, wanted: int | None, refuted: Refuted | None
    ) -> PoolsOutcome:
        refuted = refuted or self._refuted(search, wanted, self._end)
        value = None if fleet is None else fleet.cost
        certified, tree = refuted.certified, refuted.tree
        claimed = search.exact and not search.proposing and not self.out_of_time and certified != wanted
        bound = wanted if claimed else certified
        return PoolsOutcome(fleet, value, bound, certified, refuted.problem, tree, claimed, self.out_of_time)

    def _most(self) -> PoolsOutcome:
        """Find the largest multiple that is carried, and then the cheapest fleet that carries it."""
        low, high, refusing = self._largest(fleets=self._found is None)
        if self._found is not None and low:
            bounds, self.knowledge = self.knowledge, self._found()
            low = self._largest(bounds=False)[0]
            self.knowledge = bounds
        best = None
        while low and best is None:
            best = self._cheapest_at(low)
            low -= best is None
        return self._bounded(low, high, best, refusing)

    def _largest(self, *, fleets: bool = True, bounds: bool = True) -> tuple[int, int | None, PoolsSearch | None]:
        """Double, then halve: the largest multiple that is carried, one that is not, and what refuses it.

        ``fleets``, ``bounds``: whether these are told to whoever watches.
        """
        low, high, refusing = 0, None, None
        step = self.asked.resolution
        while (high is None or high - low > 1) and low < MOST_MULTIPLE and not self.out_of_time:
            middle = low + step if high is None else (low + high) // 2
            self.knowledge.demand = self.asked.demand_of(middle)
            tried = self._search(0.5)
            with self._timed():
                if self._may(tried) and tried.any_fleet() is not None:
                    low, step = middle, 2 * step
                else:
                    high, refusing = middle, tried
            self._tell(low if fleets else None, high if bounds else None)
        return low, high, refusing

    def _tell(self, carried: int | None, refused: int | None) -> None:
        told = self.settings.told
        if told is not None and carried:
            told.fleet(carried)
        if told is not None and refused is not None:
            told.at_least(refused - 1)

    def _cheapest_at(self, multiple: int) -> Realised | None:
        """Return a fleet for a multiple: the cheapest, or one of kinds that are known to be carried."""
        self.knowledge.demand = self.asked.demand_of(multiple)
        search, floor = self._search(), None
        with self._timed():
            floor = search.run()
        if floor is None:
            search.stop_at = None
            floor = search.any_fleet(learn=False)
        return None if floor is None else self._finished(search, floor)

    def _may(self, search: PoolsSearch) -> bool:
        """Whether the relaxation allows any fleet."""
        problem = self.knowledge.problem()
        rows = [row_of(problem, spec) for spec in search.specs(problem)]
        return relaxed(problem, rows, [(0, top) for top in problem.tops], priced=False).missed <= 1e-7

    def _bounded(self, low: int, high: int | None, best: Realised | None, search: PoolsSearch | None) -> PoolsOutcome:
        """Prove that the multiple above is too much."""
        value = low or None
        problem = self.knowledge.problem()
        if high is None or search is None:
            return PoolsOutcome(best, value, None, None, problem, None, claimed=False, out_of_time=self.out_of_time)
        self.knowledge.demand = self.asked.demand_of(high)
        problem = self.knowledge.problem()
        found = TreeSearch(search, problem, self._end).run(None)
        tree = None if found is None else found[1]
        claimed, certified = tree is None and self._agreed(search), None if tree is None else high - 1
        bound = high - 1 if claimed or tree is not None else None
        return PoolsOutcome(best, value, bound, certified, problem, tree, claimed, self.out_of_time)

    def _agreed(self, search: PoolsSearch) -> bool:
        """Whether CP-SAT too finds no fleet."""
        search.proposing, search.stop_at, fleet = False, self._end, None
        with self._timed():
            fleet = search.any_fleet()
        return search.exact and fleet is None and not self.out_of_time
