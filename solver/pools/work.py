"""What is known while a question about pools is answered: the problem, every pool's search, the chains chosen."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil

from shardproof.formulations.fleet.covering import Item, trimmed
from shardproof.formulations.pools.build import problem_of, replica_question
from shardproof.formulations.pools.problem import Kind
from shardproof.instances.clock import now
from shardproof.instances.pools import Pool, PoolsQuestion
from shardproof.instances.workload import OpenLoop
from shardproof.solver.open_loop.replica_rates import together
from shardproof.solver.open_loop.shapes import Shape
from shardproof.solver.pools.arriving import OpenPool, PlayedRates
from shardproof.solver.pools.certificate import seated_cases
from shardproof.solver.pools.knowledge import Knowledge, Searched, Table, own_of
from shardproof.solver.pools.outcome import BOUNDED, SEARCHED
from shardproof.solver.pools.pooled import Clock, SearchedPool, least_ttft
from shardproof.solver.pools.search import OutOfTimeError, PoolsSearch, Realised
from shardproof.solver.pools.told import Told
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.capacities import Known
from shardproof.solver.search.query import Interrupted
from shardproof.solver.search.settings import Settings

RANKED = 0.7
"""Part of what is left of the time in which replicas are played to find the cheapest fleet of them; then the cheapest
of those that were played is taken."""
MOST_GROWTH = 8
"""Multiple of the demand up to which it is asked whether a fleet carries it."""

AnyPool = SearchedPool | OpenPool
Chosen = tuple[SearchedPool, Known] | tuple[OpenPool, Shape]
"""What a kind of the fleet is: a chain of its pool's program, or a shape that was played."""


@dataclass
class Shared:
    """Pools by what a replica of theirs is asked, and their clock: what is learnt holds in every question."""

    clock: Clock = field(default_factory=Clock)
    pools: dict[str, AnyPool] = field(default_factory=dict)


@dataclass
class Work:
    """What is known while a question is answered."""

    question: PoolsQuestion
    settings: Settings
    shared: Shared = field(default_factory=Shared)
    chosen: dict[Kind, Chosen] = field(default_factory=dict)
    cut_short: bool = False
    """Whether the time ended before every replica worth it was played."""
    told: Told | None = None
    """Who is told how far the search is."""
    least_played: int | None = None
    """Least cost of fleets whose replicas sustain what was played, where it was searched to the end."""

    def __post_init__(self) -> None:
        """Build the problem and, where capacities are searched for, every pool's deployment."""
        self.base = problem_of(self.question)
        self.clock = self.shared.clock
        self.clock.stop_at = None
        self.end_at = None if self.settings.time_limit_s is None else now()
        if self.end_at is not None and self.settings.time_limit_s is not None:
            share = BOUNDED if any(pool.is_open for pool in self.question.pools) else SEARCHED
            self.clock.stop_at = self.end_at + self.settings.time_limit_s * share
            self.end_at += self.settings.time_limit_s
        self.pools = tuple(map(self._pool, self.question.pools))
        self.knowledge: Knowledge = Searched(self.base, self.pools, floor=True) if self.pools else Table(self.base)

    def _pool(self, pool: Pool) -> AnyPool:
        """Return a pool as it is counted here; what was learnt of its replicas is shared."""
        asked = replica_question(pool)
        if asked.fingerprint not in self.shared.pools:
            self.shared.pools[asked.fingerprint] = (
                OpenPool(pool.offer, pool.counts, asked, self.clock, self.settings.seed)
                if pool.is_open
                else SearchedPool(pool.offer, pool.counts, deployment_of(asked), self.clock)
            )
        found = self.shared.pools[asked.fingerprint]
        made = copy(found)
        made.offer, made.counts, made.units = pool.offer, pool.counts, pool.units
        return made

    @property
    def is_played(self) -> bool:
        """Whether some capacities are found by playing: bound and fleet then rest on different figures."""
        return any(isinstance(pool, OpenPool) for pool in self.pools)

    @property
    def all_played(self) -> bool:
        """Whether all capacities are."""
        return bool(self.pools) and all(isinstance(pool, OpenPool) for pool in self.pools)

    @property
    def alike(self) -> frozenset[int]:
        """Pools whose replicas are all of one kind."""
        return frozenset(at for at, pool in enumerate(self.question.pools) if pool.instance.replicas == "alike")

    def found(self) -> Knowledge:
        """Return what was found to hold, at the demand that is asked about."""
        for pool in self.pools:
            if isinstance(pool, SearchedPool):
                pool.ceiling.follow(pool.floor)
        return Searched(self.base, self.pools, floor=False, demand=self.knowledge.demand)

    def realised(self, search: PoolsSearch, fleet: Realised | None) -> Realised | None:
        """Return the fleet on ceiling tables: its loads no more than needed, each replica with its lowest TTFT."""
        if not self.pools:
            return fleet
        stop_at, self.clock.stop_at = self.clock.stop_at, self.end_at
        try:
            return self._realised(search, fleet)
        except Interrupted:
            return None
        finally:
            self.clock.stop_at = stop_at

    def cheapest(self, workers: int, seed: int) -> Realised | None:
        """Return the cheapest fleet of what was found to hold, of those one of the fewest kinds; nothing is proved."""
        self.clock.stop_at = self.end_at
        search = PoolsSearch(self.knowledge, workers, seed, self.end_at)
        try:
            while (found := self._searched(search, fewest_kinds=True)) is not None:
                made = self.made(found)
                if made is not None or not self.is_played:
                    return made
        except Interrupted:
            pass
        return None

    def _realised(self, search: PoolsSearch, fleet: Realised | None) -> Realised | None:
        made = None if self.is_played or fleet is None else self.made(fleet)
        while made is None:
            found = self._searched(search)
            if found is None:
                return None
            made = self.made(found)
            if made is None and not self.is_played:
                return None
        return made

    def _searched(self, search: PoolsSearch, *, fewest_kinds: bool = False) -> Realised | None:
        """Return the cheapest fleet of what was found to hold, of those one of the fewest kinds."""
        fewest_kinds |= self.is_played
        again, found = PoolsSearch(self.found(), search.workers, search.seed, self.end_at, alike=self.alike), None
        if self.told is not None and self.is_played:
            again.watch = self._watch
        self._hold_back(again)
        try:
            found = again.run()
            fewer = again.run(cost=found.cost) if found is not None and fewest_kinds else None
            self.least_played = None if found is None or not again.exact else found.cost
            return fewer if fewer is not None and found and len(fewer.groups) < len(found.groups) else found
        except OutOfTimeError:
            return found or self._in_haste(again)
        finally:
            self.clock.stop_at = self.end_at

    def _hold_back(self, search: PoolsSearch) -> None:
        """Leave some of the time to play the fleet that a search of what is played comes to."""
        if self.end_at is not None and self.is_played:
            moment = now()
            self.clock.stop_at = search.stop_at = moment + (self.end_at - moment) * RANKED

    def _in_haste(self, search: PoolsSearch) -> Realised | None:
        """Return the cheapest fleet of what was found to hold by now."""
        self.cut_short = True
        search.stop_at = self.clock.stop_at = self.end_at
        try:
            return search.confirmed() if self.is_played else None
        except OutOfTimeError:
            return None

    def _watch(self, search: PoolsSearch, cost: int) -> None:
        """Tell of fleets whose replicas were played by themselves; what they all cost together is no bound."""
        del cost
        if self.told is not None:
            self.told.step("fleets of replicas played one by one")
            self.told.look(search.glance)

    def made(self, fleet: Realised) -> Realised | None:
        """Return a fleet with its chains and shapes chosen, if it holds; else that it does not is known."""
        kinds = self._trimmed(fleet)
        used = [place for place, _ in enumerate(kinds) if fleet.values[place]]
        for place in used:
            pool = self.pools[kinds[place].pool]
            if isinstance(pool, SearchedPool):
                item = self._item(kinds[place])
                if not pool.ceiling.carries(item.gpus, item.load):
                    return None
        final = [self._chosen(kind) if place in used else kind for place, kind in enumerate(kinds)]
        made = Realised(fleet.problem.with_kinds(final), fleet.values, fleet.nodes)
        return self._as_played(made) if self._holds(made) else None

    def _as_played(self, fleet: Realised) -> Realised:
        """Say of replicas whose requests come by themselves what each was played at, not what a single run promised."""
        kinds = list(fleet.problem.kinds)
        for (kind, _), cases in zip(fleet.groups, group_rates(fleet), strict=True):
            if self._is_open(kind):
                place = kinds.index(kind)
                kinds[place] = replace(kind, loads=(cases[-1][1],))
                self.chosen[kinds[place]] = self.chosen[kind]
        return replace(fleet, problem=fleet.problem.with_kinds(kinds))

    def _item(self, kind: Kind) -> Item:
        return Item(kind.gpus, own_of(self.pools[kind.pool], kind.loads[0]))

    def _chosen(self, kind: Kind) -> Kind:
        """Choose the chain or the shape of a kind that is carried; return the kind as that has it."""
        pool, item = self.pools[kind.pool], self._item(kind)
        if isinstance(pool, OpenPool):
            shape = PlayedRates(pool).shape_of(item)
            assert shape is not None
            self.chosen[kind] = (pool, shape)
            return kind
        known = pool.ceiling.found(item.gpus, item.load)
        assert known is not None
        best = least_ttft(pool, known)
        made = Searched(self.base, self.pools, floor=False).kind_of(kind.pool, Item(best[1].gpus(best[0]), best[2]))
        self.chosen[made] = (pool, best)
        return made

    def _trimmed(self, fleet: Realised) -> list[Kind]:
        """Lower loads to what the demand needs, where nothing is to be spared; rates are shared by capacity later."""
        kinds = list(fleet.problem.kinds)
        rated = self.question.rated
        used = [place for place, kind in enumerate(kinds) if fleet.values[place] and not self._counts_rates(kind)]
        if fleet.problem.spare is not None or not used:
            return kinds
        demand = tuple(0 if rate else asked for rate, asked in zip(rated, fleet.problem.demand, strict=True))
        fleet_items = [(fleet.values[place], Item(kinds[place].gpus, kinds[place].loads[0])) for place in used]
        for place, (_, item) in zip(used, trimmed(demand, fleet_items), strict=True):
            old = kinds[place]
            pool = self.pools[old.pool]
            assert isinstance(pool, SearchedPool)
            load = pool.counted(item.load)
            kinds[place] = Kind(old.offer, old.pool, old.gpus, (load,)) if any(load) else old
        return kinds

    def _counts_rates(self, kind: Kind) -> bool:
        """Whether a kind counts for requests that come by themselves: those are shared by what replicas sustain."""
        rated = self.question.rated
        return any(rated[place] for places in self.pools[kind.pool].counts for place in places)

    def _is_open(self, kind: Kind) -> bool:
        return isinstance(self.pools[kind.pool], OpenPool)

    def _holds(self, fleet: Realised) -> bool:
        """Whether every group whose requests come by themselves keeps its limits in service, whatever is gone."""
        for (kind, _), shares in zip(fleet.groups, group_rates(fleet), strict=True):
            if not self._is_open(kind):
                continue
            pool, shape = self.chosen[kind]
            assert isinstance(pool, OpenPool)
            assert isinstance(shape, Shape)
            own, whole = own_of(pool, shares[-1][1]), own_of(pool, fleet.problem.demand)
            for replicas, _ in shares:
                self.clock.check()
                total = together(replicas, own, whole)
                if not pool.rates.keeps(shape, total, replicas):
                    pool.refuse(shape, replicas, own, whole)
                    return False
        return True

    def growth(self, fleet: Realised) -> Fraction | None:
        """Return how many times the demand every group keeps in service, in hundredths (``None``: of a trace)."""
        loads = [scenario.workload for pool in self.question.pools for scenario in pool.instance.scenarios]
        if any(isinstance(load, OpenLoop) and load.trace is not None for load in loads):
            return None
        low, high = 100, 100 * MOST_GROWTH
        while high - low > 1:
            middle = (low + high) // 2 if high < 100 * MOST_GROWTH else min(high - 1, low + max(1, low - 95))
            low, high = (middle, high) if self._keeps_times(fleet, Fraction(middle, 100)) else (low, middle)
        return Fraction(low, 100)

    def _keeps_times(self, fleet: Realised, times: Fraction) -> bool:
        for (kind, _), shares in zip(fleet.groups, group_rates(fleet), strict=True):
            pool, shape = self.chosen[kind]
            assert isinstance(pool, OpenPool)
            assert isinstance(shape, Shape)
            replicas, rates = shares[0]
            own, whole = own_of(pool, rates), own_of(pool, fleet.problem.demand)
            total = tuple(ceil(times * rate) for rate in together(replicas, own, whole))
            if not pool.rates.keeps(shape, total, replicas):
                return False
        return True


def group_rates(fleet: Realised) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Return, for each group, the most that each replica takes in any case, with so many left, and with all there.

    Requests go to replicas in proportion to what each sustains; of every demand each takes that share.
    """
    kinds = [kind for kind, _ in fleet.groups]
    counts = [count for _, count in fleet.groups]
    fullest = [(0, (0,) * len(fleet.problem.demand)) for _ in kinds]
    for case in [counts, *seated_cases(fleet)]:
        shares = _shares(kinds, case, fleet.problem.demand)
        for at, (kind, left) in enumerate(zip(kinds, case, strict=True)):
            rates = tuple(ceil(load * share) for load, share in zip(kind.loads[0], shares, strict=True))
            if left and any(a > b for a, b in zip(rates, fullest[at][1], strict=True)):
                fullest[at] = left, tuple(map(max, rates, fullest[at][1]))
    return [
        [(left, rates), *([(count, rates)] if left < count else [])]
        for count, (left, rates) in zip(counts, fullest, strict=True)
    ]


def _shares(kinds: Sequence[Kind], counts: Sequence[int], demand: Sequence[int]) -> list[Fraction]:
    """Part of what they sustain that replicas take of each demand."""
    sums = [sum(n * kind.loads[0][s] for kind, n in zip(kinds, counts, strict=True)) for s in range(len(demand))]
    return [Fraction(asked, have) if have else Fraction(0) for asked, have in zip(demand, sums, strict=True)]
