"""What is known while a question about pools is answered: the problem, every pool's search, the chains chosen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from shardproof.formulations.fleet.covering import Item, trimmed
from shardproof.formulations.pools.build import problem_of, replica_question
from shardproof.formulations.pools.problem import Kind
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.pools.knowledge import Knowledge, Table
from shardproof.solver.pools.outcome import SEARCHED
from shardproof.solver.pools.pooled import Clock, Searched, SearchedPool, least_ttft
from shardproof.solver.pools.search import OutOfTimeError, PoolsSearch, Realised
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.capacities import Known
from shardproof.solver.search.query import Interrupted
from shardproof.solver.search.settings import Settings


@dataclass
class Work:
    """What is known while a question is answered."""

    question: PoolsQuestion
    settings: Settings
    chosen: dict[Kind, tuple[SearchedPool, Known]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build the problem and, where capacities are searched for, every pool's deployment."""
        self.base = problem_of(self.question)
        self.clock, self.end_at = Clock(), None if self.settings.time_limit_s is None else time.monotonic()
        if self.end_at is not None and self.settings.time_limit_s is not None:
            self.clock.stop_at = self.end_at + self.settings.time_limit_s * SEARCHED
            self.end_at += self.settings.time_limit_s
        self.pools = tuple(
            SearchedPool(pool.offer, pool.counts, deployment_of(replica_question(pool)), self.clock)
            for pool in self.question.pools
        )
        self.knowledge: Knowledge = Table(self.base)
        if self.pools:
            self.searched = Searched(self.base, self.pools, lambda pool: pool.floor)
            self.knowledge = self.searched

    def realised(self, search: PoolsSearch, fleet: Realised) -> Realised | None:
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

    def _realised(self, search: PoolsSearch, fleet: Realised) -> Realised | None:
        ceilings = Searched(self.base, self.pools, lambda pool: pool.ceiling, self.knowledge.demand)
        ceilings.demand = self.knowledge.demand
        made = self._made(fleet, ceilings)
        if made is not None:
            return made
        again = PoolsSearch(ceilings, search.workers, search.seed, search.stop_at)
        try:
            found = again.run()
        except OutOfTimeError:
            return None
        return None if found is None else self._made(found, ceilings)

    def _made(self, fleet: Realised, ceilings: Searched) -> Realised | None:
        kinds = self._trimmed(fleet)
        for place, kind in enumerate(kinds):
            if fleet.values[place]:
                pool = self.pools[kind.pool]
                if not pool.ceiling.carries(kind.gpus, ceilings.load_of(kind)):
                    return None
        final = []
        for place, kind in enumerate(kinds):
            final.append(self._chosen(kind, ceilings) if fleet.values[place] else kind)
        return Realised(fleet.problem.with_kinds(final), fleet.values, fleet.nodes)

    def _chosen(self, kind: Kind, ceilings: Searched) -> Kind:
        """Choose the chain of a kind that is carried; return the kind as the chain has it."""
        known, pool = ceilings.known(kind), self.pools[kind.pool]
        assert known is not None
        best = least_ttft(pool, known)
        made = ceilings.kind_of(kind.pool, pool, Item(best[1].gpus(best[0]), best[2]))
        self.chosen[made] = (pool, best)
        return made

    def _trimmed(self, fleet: Realised) -> list[Kind]:
        """Lower loads to what the demand needs, where nothing is to be spared."""
        kinds = list(fleet.problem.kinds)
        used = [place for place, _ in enumerate(kinds) if fleet.values[place]]
        if fleet.problem.spare is not None or not used:
            return kinds
        fleet_items = [(fleet.values[place], Item(kinds[place].gpus, kinds[place].loads[0])) for place in used]
        for place, (_, item) in zip(used, trimmed(fleet.problem.demand, fleet_items), strict=True):
            old = kinds[place]
            load = self.pools[old.pool].counted(item.load)
            kinds[place] = Kind(old.offer, old.pool, old.gpus, (load,)) if any(load) else old
        return kinds
