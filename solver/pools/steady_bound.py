"""A lower bound on fleets with pools apart whose requests keep coming: intervals of times per token, side by side.

Every decode replica may have a time per token of its own; `shardproof.formulations.apart.paces` says what each interval
allows. The intervals that the cheapest relaxed fleet uses are halved until it costs what the plan does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shardproof.formulations.apart.paces import Interval, bounded, first_intervals, halved
from shardproof.instances.clock import now
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.pools.outcome import Asked, PoolsOutcome, PoolsSettings, Pursuit
from shardproof.solver.pools.search import OutOfTimeError, PoolsSearch
from shardproof.solver.pools.told import Told
from shardproof.solver.pools.work import Shared, Work
from shardproof.solver.search.settings import Settings

FINEST = 1.03
"""Intervals of times per token are not halved below this ratio."""
MOST_ROUNDS = 6
MOST_SECONDS = 30.0
"""No further round begins after so long: bounds that know spares are slow to sharpen."""


@dataclass
class FleetBound:
    """Looks for the least cost (or the most load) that no fleet undercuts."""

    question: PoolsQuestion
    settings: Settings
    value: int | None
    """Cost (or load) of a fleet that was found."""
    give_up: float | None
    shared: Shared
    told: Told | None = None
    work: Work | None = field(default=None, init=False)

    def find(self) -> tuple[PoolsOutcome | None, bool]:
        """Return the last outcome that bounds (``None``: there was no time), and whether no round was left."""
        intervals, best, started = first_intervals(self.question), None, now()
        for _ in range(MOST_ROUNDS):
            outcome = self._outcome(intervals)
            if outcome is None or (outcome.bound is None and not outcome.infeasible):
                return best, False
            best = outcome
            if self.told is not None and outcome.bound is not None:
                self.told.at_least(outcome.bound)
            finer = self._finer(intervals, outcome)
            if now() - started > MOST_SECONDS:
                return best, self._meets(outcome)
            if outcome.infeasible or self._meets(outcome) or finer is None:
                return best, True
            intervals = finer
        return best, False

    def _outcome(self, intervals: dict[str, tuple[Interval, ...]]) -> PoolsOutcome | None:
        left = None if self.give_up is None else self.give_up - now()
        if left is not None and left <= 0:
            return None
        question = bounded(self.question, intervals, self._replicas())
        settings = replace(self.settings, time_limit_s=left)
        self.work = Work(question, settings, self.shared)
        asked = Asked(self.work.base.demand, question.objective == "load", question.resolution)
        if not asked.most_load:
            return self._least(self.work, left)
        effort = PoolsSettings(left, settings.workers, settings.seed)
        return Pursuit(self.work.knowledge, asked, effort, lambda _, fleet: fleet).run()

    def _least(self, work: Work, left: float | None) -> PoolsOutcome | None:
        """Return the cheapest relaxed fleet, proposed in floats first, then proved in integers."""
        stop_at = work.clock.stop_at = None if left is None else now() + left
        search = PoolsSearch(work.knowledge, self.settings.workers, self.settings.seed, stop_at)
        try:
            search.run()
            search.proposing = False
            fleet = search.run()
        except OutOfTimeError:
            return None
        if not search.exact:
            return None
        cost, problem = None if fleet is None else fleet.cost, work.knowledge.problem()
        return PoolsOutcome(fleet, cost, cost, None, problem, None, claimed=True, out_of_time=False)

    def _replicas(self) -> int:
        """Prefill replicas of a fleet that is no dearer, at most."""
        most = self.question.max_gpus
        if self.value is None or self.question.objective == "load" or self.work is None:
            return most
        costs = [supply.cost for supply in self.work.base.supplies]
        return most if min(costs) <= 0 else min(most, self.value // min(costs))

    def _meets(self, outcome: PoolsOutcome) -> bool:
        if self.value is None or outcome.bound is None:
            return False
        if self.question.objective == "load":
            return outcome.bound <= self.value
        return outcome.bound >= self.value

    def _finer(
        self, intervals: dict[str, tuple[Interval, ...]], outcome: PoolsOutcome
    ) -> dict[str, tuple[Interval, ...]] | None:
        """Halve the intervals that a relaxed fleet uses; ``None``: all of them are fine enough."""
        if outcome.fleet is None or self.work is None:
            return None
        found = dict(intervals)
        for kind, _ in outcome.fleet.groups:
            pool = self.work.question.pools[kind.pool]
            for place, scenario in zip(pool.places, pool.instance.scenarios, strict=True):
                title, stop = self.work.question.title(place), scenario.limits.tpot
                if pool.phase != "decode" or title not in intervals or stop is None:
                    continue
                for low, high in intervals[title]:
                    if int(high) == stop and high / low > FINEST:
                        found[title] = halved(found[title], high)
        return None if found == intervals else found
