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
    """One pool: the deployment problem of its replicas, and what is known of their capacities in both roundings."""

    offer: int
    places: tuple[int, ...]
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

    def _make(self, program: Program, *, floor: bool, beside: AnyProver | None) -> AnyProver:
        return Prover(program, floor, self.clock.check, beside if isinstance(beside, Prover) else None)

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
        return tuple(demand[place] for place in self.places)

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
        for at, requests in zip(pool.places, item.load, strict=True):
            load[at] = requests
        return Kind(pool.offer, place, item.gpus, (tuple(load),))

    def load_of(self, kind: Kind) -> Load:
        """Load of a kind in its pool's own scenarios."""
        return tuple(kind.loads[0][place] for place in self.pools[kind.pool].places)

    def known(self, kind: Kind) -> Known | None:
        """Return what is known to carry a kind's load within its GPUs."""
        return self.rounding(self.pools[kind.pool]).found(kind.gpus, self.load_of(kind))

    def is_open(self, kind: Kind) -> bool:
        """Whether it is not known yet that a replica carries this."""
        return self.known(kind) is None

    def learn(self, kind: Kind, share: float) -> None:
        """Ask whether a kind is carried; if not, find a smallest load below it that is not, and how wide that holds.

        First its ``share`` is asked about: where that is refused, no more needs to be known.
        """
        known, load = self.rounding(self.pools[kind.pool]), self.load_of(kind)
        self.asked += 1
        least = tuple(min(requests, int(requests * share) + 1) if requests else 0 for requests in load)
        if least != load and not known.carries(kind.gpus, least):
            self._widen(known, kind.gpus, self._without(known, kind.gpus, least), self.pools[kind.pool])
            return
        if known.carries(kind.gpus, load):
            return
        for place in range(len(load)):
            low, high = 0, load[place]
            while low < high:
                middle = (low + high) // 2
                below = (*load[:place], middle, *load[place + 1 :])
                low, high = (middle + 1, high) if known.carries(kind.gpus, below) else (low, middle)
            load = (*load[:place], high, *load[place + 1 :])
        self._widen(known, kind.gpus, load, self.pools[kind.pool])

    def _without(self, known: Capacities, gpus: int, load: Load) -> Load:
        """Leave out of a refused load the scenarios that it is refused without."""
        for place in range(len(load)):
            below = (*load[:place], 0, *load[place + 1 :])
            if load[place] and any(below) and not known.carries(gpus, below):
                load = below
        return load

    def _widen(self, known: Capacities, gpus: int, load: Load, pool: SearchedPool) -> None:
        """Refuse the same load to wider replicas too, as far as a node goes."""
        most = min(pool.widest, max(gpus, self.base.supplies[pool.offer].node))
        step = 1
        while gpus < most and not known.carries(min(most, gpus + step), load):
            gpus, step = min(most, gpus + step), 2 * step


def least_ttft(pool: SearchedPool, known: Known) -> Known:
    """Return the chain of the lowest TTFT at the same width and load, on ceiling tables."""
    program, chain, load = known
    width = chain.gpus(program)
    prover = pool.provers.of(load, width, floor=False)
    if prover.value("ttft", chain) is None:
        return known
    found = prover.least(Query(width), "ttft", chain).chain
    return known if found is None else (program, found, load)
