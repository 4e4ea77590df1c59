"""Pools whose capacities the exact search proves: questions about single replicas, walls, and kinds between them."""

from __future__ import annotations

from dataclasses import dataclass, field

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.tables import Program
from shardproof.formulations.fleet.covering import Item, items
from shardproof.formulations.pools.problem import Load
from shardproof.instances.clock import now
from shardproof.solver.search.capacities import Capacities, Known, Provers
from shardproof.solver.search.lexicographic import AnyProver
from shardproof.solver.search.prover import TimelyProver
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
        if self.stop_at is not None and now() > self.stop_at:
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
    units: tuple[int, ...] = ()
    floor: Capacities = field(init=False)
    ceiling: Capacities = field(init=False)
    provers: Provers = field(init=False)

    def __post_init__(self) -> None:
        """Know nothing yet."""
        self.provers = Provers(self.deployment, self._make)
        self.floor = Capacities(self.provers, self._undecided, floor=True, limits=Query(0))
        self.ceiling = Capacities(self.provers, self._undecided, floor=False, limits=Query(0))

    def _make(self, program: Program, *, floor: bool) -> AnyProver:
        return TimelyProver(program, floor, self.clock.check)

    def _undecided(self, program: Program, query: Query, answer: Answer, *, floor: bool) -> Chain | None:
        from shardproof.solver.search.cp_sat import decide_cases

        left = None if self.clock.stop_at is None else max(0.1, self.clock.stop_at - now())
        claim = decide_cases(program, query, answer.unknown, floor=floor, settings=Settings(time_limit_s=left))
        self.claimed_by = claim.solver
        if claim.chain is None and not claim.refuted:
            raise Interrupted
        return claim.chain

    @property
    def widest(self) -> int:
        """Most GPUs of a replica."""
        return self.deployment.instance.max_gpus

    def counted(self, load: Load) -> Load:
        """Return a load of all demands in which each of the pool's scenarios counts for all of its demands alike."""
        found = list(load)
        for places in self.counts:
            most = max(load[place] for place in places)
            for place in places:
                found[place] = most
        return tuple(found)

    def view(self, *, floor: bool) -> Loads:
        """Return what is known in a rounding."""
        return Loads(self, self.floor if floor else self.ceiling)


@dataclass
class Loads:
    """What is known of a pool's loads in one rounding; `shardproof.solver.pools.knowledge.PoolView`."""

    pool: SearchedPool
    known: Capacities
    _left: tuple[tuple[object, ...], list[Item]] | None = None
    _culprit: int | None = None
    """Scenario by which a load was last refused alone."""

    def left(self, own: Load) -> list[Item]:
        """Replicas that no refused load excludes."""
        key = (own, *((wall.gpus, wall.load) for wall in self.known.refused))
        if self._left is None or self._left[0] != key:
            found = items(own, self.known.refused, self.pool.widest) if self.pool.deployment.options else []
            self._left = key, found
        return self._left[1]

    def confirmed(self, own: Load) -> list[Item]:
        """Replicas that carry what was asked of them."""
        found = {Item(item.gpus, tuple(map(min, item.load, own))) for item in self.known.carried}
        return sorted(found, key=lambda item: (item.gpus, item.load))

    def is_open(self, item: Item) -> bool:
        """Whether no chain is known that carries this."""
        return self.known.found(item.gpus, item.load) is None

    def learn(self, item: Item, share: float, own: Load) -> None:
        """Ask whether a kind is carried; if not, refuse less of its load, until the kind is another or confirmed.

        First its ``share`` is asked about: where that is refused, no more needs to be known. Else the part of its load
        that is carried is found to within `NEARLY`, and when that is known already, a smallest load that is refused.
        """
        del own
        gpus, load, known = item.gpus, item.load, self.known
        low = min(1.0, share)
        if low < 1 and not known.carries(gpus, _part(load, low)):
            self._widen(gpus, self._without(gpus, _part(load, low)))
            return
        if known.carries(gpus, load):
            return
        low, high = self._ray(gpus, load, low)
        if high < 1:
            self._without(gpus, _part(load, high))
        else:
            self._smallest(gpus, load)

    def _ray(self, gpus: int, load: Load, low: float) -> tuple[float, float]:
        """Return parts of a refused load of which one is carried, one is not, and that are nearly the same."""
        high, known = 1.0, self.known
        if low >= 1:
            low = 0.5
            while _part(load, low) != _part(load, high) and not known.carries(gpus, _part(load, low)):
                low, high = low / 2, low
        while high > low * NEARLY and _part(load, low) != _part(load, high):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if known.carries(gpus, _part(load, middle)) else (low, middle)
        return low, high

    def _smallest(self, gpus: int, load: Load) -> None:
        """Find a smallest load below a refused one that is refused too: near the top of a scenario, or none of it."""
        load, known = self._without(gpus, load), self.known
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

    def _without(self, gpus: int, load: Load) -> Load:
        """Leave out of a refused load the scenarios that it is refused without; the last culprit is asked first."""
        if self._culprit is not None:
            alone = tuple(requests if at == self._culprit else 0 for at, requests in enumerate(load))
            if alone != load and any(alone) and not self.known.carries(gpus, alone):
                return alone
        for place in range(len(load)):
            below = _with(load, place, 0)
            if load[place] and any(below) and not self.known.carries(gpus, below):
                load = below
        culprits = [place for place, requests in enumerate(load) if requests]
        if len(culprits) == 1:
            self._culprit = culprits[0]
        return load

    def _widen(self, gpus: int, load: Load) -> None:
        """Ask once whether wider replicas are refused the same load too: as wide as what is carried promises."""
        most = min(self.pool.widest, max(gpus, self.pool.deployment.instance.device.devices_per_node))
        pairs = ((item.gpus, zip(item.load, load, strict=True)) for item in self.known.carried)
        parts = ((width, min(have / want for have, want in found if want)) for width, found in pairs)
        each = max((part / width for width, part in parts), default=1 / (2 * gpus))
        wider = min(most, int(SURE / each) if each else most)
        if wider > gpus:
            self.known.carries(wider, load)


def least_ttft(pool: SearchedPool, known: Known) -> Known:
    """Return the chain of the lowest TTFT at the same width and load, on ceiling tables."""
    program, chain, load = known
    width = chain.gpus(program)
    prover = pool.provers.of(load, width, floor=False)
    if prover.value("ttft", chain) is None:
        return known
    found = prover.least(Query(width), "ttft", chain).chain
    return known if found is None else (program, found, load)
