"""Pools whose capacities the exact search proves: questions about single replicas, walls, and kinds between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.tables import Program
from shardproof.formulations.fleet.covering import Item, items
from shardproof.formulations.pools.problem import Kind, Load, PoolsProblem
from shardproof.solver.search.capacities import Capacities, Known, Provers
from shardproof.solver.search.lexicographic import AnyProver
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Answer, Interrupted, Query
from shardproof.solver.search.settings import Settings

SURE = 0.9
"""Part of what carried loads promise that is asked of wider replicas."""
NEARLY = 1.3
"""Ratio of a refused to a carried part of a load below which the rest is found coordinate by coordinate."""


def _part(load: Load, share: float) -> Load:
    """Return more than a share of a load, in whole requests."""
    return tuple(min(requests, int(requests * share) + 1) if requests else 0 for requests in load)


def _with(load: Load, place: int, requests: int) -> Load:
    return (*load[:place], requests, *load[place + 1 :])


@dataclass
class Clock:
    """When to stop; asked often by the exact search."""

    stop_at: float | None = None

    def check(self) -> None:
        """End the search when the time is over.

        Raises
        ------
        Interrupted
            If it is.
        """
        if self.stop_at is not None and time.monotonic() > self.stop_at:
            raise Interrupted


@dataclass
class SearchedPool:
    """One pool: the deployment problem of its replicas, and what is known of their capacities in both roundings.

    ``counts``: for each of its scenarios the demands that a request counts for; the first stands for all.
    """

    offer: int
    counts: tuple[tuple[int, ...], ...]
    deployment: Deployment
    clock: Clock
    claimed_by: str | None = None
    floor: Capacities = field(init=False)
    ceiling: Capacities = field(init=False)
    provers: Provers = field(init=False)
    _items: tuple[tuple[int, int, Load], list[Item]] | None = None

    def __post_init__(self) -> None:
        """Know nothing yet."""
        self.provers = Provers(self.deployment, self._make)
        self.floor = Capacities(self.provers, self._undecided, floor=True, limits=Query(0))
        self.ceiling = Capacities(self.provers, self._undecided, floor=False, limits=Query(0))

    def _make(self, program: Program, *, floor: bool) -> AnyProver:
        return Prover(program, floor, self.clock.check)

    def _undecided(self, program: Program, query: Query, answer: Answer, *, floor: bool) -> Chain | None:
        from shardproof.solver.search.cp_sat import decide_cases

        left = None if self.clock.stop_at is None else max(0.1, self.clock.stop_at - time.monotonic())
        claim = decide_cases(program, query, answer.unknown, floor=floor, settings=Settings(time_limit_s=left))
        self.claimed_by = claim.solver
        if claim.chain is None and not claim.refuted:
            raise Interrupted
        return claim.chain

    @property
    def widest(self) -> int:
        """Most GPUs of a replica."""
        return self.deployment.instance.max_gpus

    def own(self, demand: Load) -> Load:
        """What the pool's scenarios ask for."""
        return tuple(demand[places[0]] for places in self.counts)

    def counted(self, load: Load) -> Load:
        """Return a load of all demands in which each of the pool's scenarios counts for all of its demands alike."""
        found = list(load)
        for places in self.counts:
            most = max(load[place] for place in places)
            for place in places:
                found[place] = most
        return tuple(found)

    def items(self, demand: Load, known: Capacities) -> list[Item]:
        """Kinds that nothing known excludes."""
        if not self.deployment.options:
            return []
        return items(self.own(demand), known.refused, self.widest)


@dataclass
class Searched:
    """What is known of all pools, in one rounding; `shardproof.solver.pools.knowledge.Knowledge`."""

    base: PoolsProblem
    pools: tuple[SearchedPool, ...]
    rounding: Callable[[SearchedPool], Capacities]
    demand: Load = ()
    asked: int = 0
    _kinds: dict[int, tuple[tuple[object, ...], list[Kind]]] = field(default_factory=dict)
    _culprits: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Scenario by which a pool last refused a load alone, by its capacities."""

    def __post_init__(self) -> None:
        """Ask for the demand of the problem."""
        self.demand = self.base.demand

    def problem(self, *, confirmed: bool = False) -> PoolsProblem:
        """Return the problem with the kinds that are left, or those that are confirmed."""
        kinds: list[Kind] = []
        for place, pool in enumerate(self.pools):
            kinds += self._confirmed(place, pool) if confirmed else self._left(place, pool)
        return replace(self.base, demand=self.demand, kinds=tuple(kinds))

    def _left(self, place: int, pool: SearchedPool) -> list[Kind]:
        known = self.rounding(pool)
        key = (self.demand, *((wall.gpus, wall.load) for wall in known.refused))
        if self._kinds.get(place, ((), []))[0] != key:
            self._kinds[place] = key, [self.kind_of(place, pool, item) for item in pool.items(self.demand, known)]
        return self._kinds[place][1]

    def _confirmed(self, place: int, pool: SearchedPool) -> list[Kind]:
        own = pool.own(self.demand)
        found = {
            self.kind_of(place, pool, Item(item.gpus, tuple(map(min, item.load, own))))
            for item in self.rounding(pool).carried
        }
        return sorted(found, key=lambda kind: (kind.gpus, kind.loads))

    def kind_of(self, place: int, pool: SearchedPool, item: Item) -> Kind:
        """Return a pool's width and load as a kind of the problem."""
        load = [0] * len(self.demand)
        for places, requests in zip(pool.counts, item.load, strict=True):
            for at in places:
                load[at] = requests
        return Kind(pool.offer, place, item.gpus, (tuple(load),))

    def load_of(self, kind: Kind) -> Load:
        """Load of a kind in its pool's own scenarios."""
        return self.pools[kind.pool].own(kind.loads[0])

    def known(self, kind: Kind) -> Known | None:
        """Return what is known to carry a kind's load within its GPUs."""
        return self.rounding(self.pools[kind.pool]).found(kind.gpus, self.load_of(kind))

    def is_open(self, kind: Kind) -> bool:
        """Whether it is not known yet that a replica carries this."""
        return self.known(kind) is None

    def learn(self, kind: Kind, share: float) -> None:
        """Ask whether a kind is carried; if not, refuse less of its load, until the kind is another or confirmed.

        First its ``share`` is asked about: where that is refused, no more needs to be known. Else the part of its load
        that is carried is found to within `NEARLY`, and when that is known already, a smallest load that is refused.
        """
        pool, load = self.pools[kind.pool], self.load_of(kind)
        known = self.rounding(pool)
        self.asked += 1
        low = min(1.0, share)
        if low < 1 and not known.carries(kind.gpus, _part(load, low)):
            self._widen(known, kind.gpus, self._without(known, kind.gpus, _part(load, low)), pool)
            return
        if known.carries(kind.gpus, load):
            return
        low, high = self._ray(known, kind.gpus, load, low)
        if high < 1:
            self._without(known, kind.gpus, _part(load, high))
        else:
            self._smallest(known, kind.gpus, load)

    def _ray(self, known: Capacities, gpus: int, load: Load, low: float) -> tuple[float, float]:
        """Return parts of a refused load of which one is carried, one is not, and that are nearly the same."""
        high = 1.0
        if low >= 1:
            low = 0.5
            while _part(load, low) != _part(load, high) and not known.carries(gpus, _part(load, low)):
                low, high = low / 2, low
        while high > low * NEARLY and _part(load, low) != _part(load, high):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if known.carries(gpus, _part(load, middle)) else (low, middle)
        return low, high

    def _smallest(self, known: Capacities, gpus: int, load: Load) -> None:
        """Find a smallest load below a refused one that is refused too: near the top of a scenario, or none of it."""
        load = self._without(known, gpus, load)
        for place in range(len(load)):
            low, step = load[place], 1
            while low > 0 and not known.carries(gpus, _with(load, place, max(0, low - step))):
                low, step = max(0, low - step), 2 * step
            high, low = low, max(0, low - step) + 1
            while low < high:
                middle = (low + high) // 2
                carried = known.carries(gpus, _with(load, place, middle))
                low, high = (middle + 1, high) if carried else (low, middle)
            load = _with(load, place, high)

    def _without(self, known: Capacities, gpus: int, load: Load) -> Load:
        """Leave out of a refused load the scenarios that it is refused without; the last culprit is asked first."""
        for place in self._culprits.get(id(known), ()):
            alone = tuple(requests if at == place else 0 for at, requests in enumerate(load))
            if alone != load and any(alone) and not known.carries(gpus, alone):
                return alone
        for place in range(len(load)):
            below = _with(load, place, 0)
            if load[place] and any(below) and not known.carries(gpus, below):
                load = below
        culprits = [place for place, requests in enumerate(load) if requests]
        if len(culprits) == 1:
            self._culprits[id(known)] = (culprits[0],)
        return load

    def _widen(self, known: Capacities, gpus: int, load: Load, pool: SearchedPool) -> None:
        """Ask once whether wider replicas are refused the same load too: as wide as what is carried promises."""
        most = min(pool.widest, max(gpus, self.base.supplies[pool.offer].node))
        pairs = ((item.gpus, zip(item.load, load, strict=True)) for item in known.carried)
        parts = ((width, min(have / want for have, want in found if want)) for width, found in pairs)
        each = max((part / width for width, part in parts), default=1 / (2 * gpus))
        wider = min(most, int(SURE / each) if each else most)
        if wider > gpus:
            known.carries(wider, load)


def least_ttft(pool: SearchedPool, known: Known) -> Known:
    """Return the chain of the lowest TTFT at the same width and load, on ceiling tables."""
    program, chain, load = known
    width = chain.gpus(program)
    prover = pool.provers.of(load, width, floor=False)
    if prover.value("ttft", chain) is None:
        return known
    found = prover.least(Query(width), "ttft", chain).chain
    return known if found is None else (program, found, load)
