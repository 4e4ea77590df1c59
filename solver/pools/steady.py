"""Fleets with pools apart whose requests keep coming: planned at fixed paces, played, and bounded by a relaxation.

A fleet is the cheapest of fixed loads at one time per token of each scenario (`shardproof.formulations.apart.paces`).
It is played with both pools and the links; where it misses a limit, that phase is planned for more. Replicas of both
phases are judged as everywhere: in closed loops by proven capacities, requests that come by themselves by playing.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from fractions import Fraction

from shardproof.formulations.apart.pace import GROWTH, Pace
from shardproof.formulations.apart.paces import paced_scenarios, planned, slowest_of
from shardproof.formulations.apart.phases import FASTEST_TOKEN_NS
from shardproof.instances.clock import now
from shardproof.instances.fleet_plan import FleetPlan
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.open_loop.evaluated import SEEDS
from shardproof.solver.open_loop.judge import Verdict
from shardproof.solver.pools.fleet_plans import fleet_plan
from shardproof.solver.pools.outcome import Asked, PoolsSettings, Pursuit
from shardproof.solver.pools.search import Realised
from shardproof.solver.pools.steady_plans import Shown, steady_plan
from shardproof.solver.pools.steady_play import FleetService
from shardproof.solver.pools.work import Shared, Work
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import SimulationSettings

MOST_PLAYED = 24
MOST_TOKENS = 6
DEARER = Fraction(3, 2)
"""Fleets for faster tokens are looked for until they cost so many times the cheapest."""

NONE: Set[str] = frozenset()

Paces = tuple[tuple[str, Pace], ...]


@dataclass(frozen=True)
class Worth:
    """A fleet, the work in which it was found, its plan, and what it is worth."""

    fleet: Realised
    work: Work
    plan: FleetPlan
    multiple: int | None

    @property
    def value(self) -> int:
        """Cost or, of most load, how many steps of the demand it carries."""
        return self.fleet.cost if self.multiple is None else self.multiple

    @property
    def rank(self) -> tuple[int, int]:
        """The less, the better."""
        return (self.fleet.cost, 0) if self.multiple is None else (-self.multiple, self.fleet.cost)


@dataclass(frozen=True)
class Candidate(Worth):
    """A fleet of fixed loads, what was known when it was found, and its plan."""

    paces: Paces


@dataclass(frozen=True)
class Kept:
    """A fleet that keeps its limits in service, and what it showed."""

    candidate: Candidate
    shown: Shown


@dataclass
class Climb:
    """Fleets that are planned for more until they keep their limits in service."""

    question: PoolsQuestion
    settings: Settings
    give_up: float | None
    shared: Shared
    _found: dict[Paces, Candidate | None] = field(default_factory=dict)
    _shown: dict[str, Shown] = field(default_factory=dict)
    _services: dict[int, FleetService] = field(default_factory=dict)

    def run(self, better_than: tuple[int, int] | None = None) -> Kept | None:
        """Play candidates, the cheapest first, as long as they are better than what is known."""
        ready = self._first()
        while ready and len(self._shown) < MOST_PLAYED and not self._is_late:
            ready.sort(key=lambda one: (one.rank, one.paces))
            candidate = ready.pop(0)
            if better_than is not None and candidate.rank >= better_than:
                return None
            shown = self._played(candidate)
            if shown.keeps_all:
                return Kept(candidate, shown)
            ready += self._raised(candidate, shown.missed)
        return None

    @property
    def _is_late(self) -> bool:
        return self.give_up is not None and now() > self.give_up

    def _first(self) -> list[Candidate]:
        """Return fleets for ever faster tokens of all scenarios, until they cost much more than the cheapest."""
        slowest = {title: slowest_of(one) for title, one in paced_scenarios(self.question).items()}
        found = list[Candidate]()
        for step in range(MOST_TOKENS):
            tokens = {title: max(Fraction(FASTEST_TOKEN_NS), token / GROWTH**step) for title, token in slowest.items()}
            one = self._candidate(tuple((title, Pace(token)) for title, token in tokens.items()))
            if one is None:
                if found or self._is_late:
                    break
                continue
            found.append(one)
            best = min(other.rank for other in found)
            if one.multiple is None and one.fleet.cost > DEARER * best[0]:
                break
            if one.multiple is not None and one.multiple * DEARER < -best[0]:
                break
        return found

    def _raised(self, candidate: Candidate, missed: Mapping[str, tuple[Verdict, ...]]) -> list[Candidate]:
        """Plan the phases whose limits are missed for more; late first tokens by more prefill, or by faster prefill."""
        first = {title for title, found in missed.items() if {_figure(one) for one in found} - {"tpot", "itl"}}
        later = {title for title, found in missed.items() if {_figure(one) for one in found} - {"ttft"}}
        made = [self._changed(candidate, first=first, later=later)]
        if first:
            made.append(self._changed(candidate, later=later, late=first))
        return [one for one in made if one is not None]

    def _changed(
        self, candidate: Candidate, *, first: Set[str] = NONE, later: Set[str], late: Set[str] = NONE
    ) -> Candidate | None:
        """Raise what the paces of some scenarios ask for until that gives another fleet; ``late``: their haste."""
        paces = candidate.paces
        while not self._is_late:
            paces = tuple(
                (title, pace.raised(prefill=title in first, decode=title in later, hurried=title in late))
                for title, pace in paces
            )
            if any(pace.is_beyond for _, pace in paces):
                return None
            found = self._candidate(paces)
            if self._found[paces] is None:
                return None
            if found is not None and _key(found) not in self._shown:
                return found
        return None

    def _candidate(self, paces: Paces) -> Candidate | None:
        """Return the cheapest fleet (or of most load) at these paces; ``None``: there is none, or it was asked for."""
        if paces in self._found:
            return None
        self._found[paces] = None
        question, left = planned(self.question, dict(paces)), self._left()
        work = Work(question, replace(self.settings, time_limit_s=left), self.shared)
        fleet, multiple = self._cheapest(work, left)
        if fleet is None:
            return None
        plan = steady_plan(self.question, question, fleet, fleet_plan(question, fleet, work.chosen))
        self._found[paces] = Candidate(fleet, work, plan, multiple, paces)
        return self._found[paces]

    def _cheapest(self, work: Work, left: float | None) -> tuple[Realised | None, int | None]:
        if self.question.objective != "load":
            return work.cheapest(self.settings.workers, self.settings.seed), None
        asked = Asked(work.base.demand, most_load=True, resolution=self.question.resolution)
        effort = PoolsSettings(left, self.settings.workers, self.settings.seed)
        found = Pursuit(work.knowledge, asked, effort, work.realised, work.found if work.is_played else None).run()
        return found.fleet, found.value

    def _left(self) -> float | None:
        return None if self.give_up is None else max(0.1, self.give_up - now())

    def _played(self, candidate: Candidate) -> Shown:
        key = _key(candidate)
        if key not in self._shown:
            shown = self._show(candidate, 1)
            if all(one.kept or one.is_near for one in shown.verdicts) and _is_open(self.question):
                shown = self._show(candidate, SEEDS)
            self._shown[key] = shown
        return self._shown[key]

    def _show(self, candidate: Candidate, seeds: int) -> Shown:
        if seeds not in self._services:
            self._services[seeds] = FleetService(
                self.question, SimulationSettings(seeds=seeds, seed=self.settings.seed)
            )
        service = self._services[seeds]
        return Shown.of(self.question, candidate.plan, service, candidate.multiple)


def _is_open(question: PoolsQuestion) -> bool:
    """Whether requests of any pool come by themselves: several runs then say more than one."""
    return any(pool.is_open for pool in question.pools)


def _figure(verdict: Verdict) -> str:
    return verdict.limit_name.partition(" ")[0]


def _key(candidate: Candidate) -> str:
    """Return what a fleet is played by: its groups, whatever they were planned for."""
    groups = [
        (group.pool, group.replicas, [(stage.layers, stage.option) for stage in group.plan.stages], group.takes)
        for group in candidate.plan.groups
        if group.plan is not None
    ]
    return repr((groups, candidate.multiple))
