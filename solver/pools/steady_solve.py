"""The answer about fleets with pools apart whose requests keep coming: together, apart, or some of both.

Where replicas of both phases are allowed too, they alone and pools alone are answered first, and a mix is looked for
that is better than either: the answer is never worse than one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from shardproof.formulations.apart.pace import Pace
from shardproof.formulations.apart.paces import paced_scenarios, planned, slowest_of, whole_alone, without_whole
from shardproof.instances.clock import now
from shardproof.instances.fleet_plan import FleetPlan
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.open_loop.shown import said
from shardproof.solver.pools.outcome import Asked, PoolsOutcome
from shardproof.solver.pools.played import STEADY, premises
from shardproof.solver.pools.result import FleetResult
from shardproof.solver.pools.steady import Climb, Kept, Worth
from shardproof.solver.pools.steady_bound import FleetBound
from shardproof.solver.pools.steady_plans import Shown, played_metrics
from shardproof.solver.pools.told import UNITS, told_of, unheard
from shardproof.solver.pools.work import Shared, Work
from shardproof.solver.result import Status
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import versions

SHARES = {"together": 0.3, "apart": 0.4, "mix": 0.5}
"""Part of the time that is left which each search takes, where time is limited; the bound takes the rest."""


@dataclass(frozen=True)
class Best(Worth):
    """A fleet, and how it was found."""

    way: str
    shown: Shown | None


Together = Callable[[PoolsQuestion, Settings], FleetResult]
"""Answers a question where every replica serves both phases."""


def solve_steady(question: PoolsQuestion, settings: Settings, together: Together) -> FleetResult:
    """Find the best fleet of pools apart (and replicas of both phases, where they are allowed), play and bound it.

    Raises
    ------
    InputError
        If a closed loop says no limit on TTFT, or nothing is decoded.
    """
    paced_scenarios(question)
    return _Ways(question, settings, together, now()).answer()


@dataclass
class _Ways:
    """The ways of serving that a question allows, and what each comes to."""

    question: PoolsQuestion
    settings: Settings
    together: Together
    started: float

    def __post_init__(self) -> None:
        """Know nothing yet."""
        self.shared = Shared()
        self.found: dict[str, Best | None] = {}
        self.told = told_of(self.question, self.settings)
        self.quiet = replace(self.settings, explain=False, certify=False, on_progress=unheard, floor=1)

    def answer(self) -> FleetResult:
        """Answer every way alone, then look for a mix that is better; bound them all at once."""
        if self.question.serving == "any":
            self.told.step("both phases on each replica")
            self.found["together"] = self._together()
            self._tell()
        self.told.step("prefill and decode apart, fleets played")
        self.found["apart"] = self._climbed("apart", without_whole(self.question), None)
        best = self._tell()
        if self.question.serving == "any" and self._mixes:
            self.told.step("some of both, fleets played")
            rank = None if best is None else best.rank
            self.found["some of both"] = self._climbed("mix", self.question, rank)
            best = self._tell()
        self.told.step("bound")
        value, until = None if best is None else best.value, self._until(1.0)
        bound = FleetBound(self.question, self.quiet, value, until, self.shared, self.told)
        outcome, whole = bound.find()
        return self._result(best, outcome, whole=whole)

    def _tell(self) -> Best | None:
        """Return the best fleet by now, and tell it."""
        best = self._best()
        if best is not None:
            self.told.fleet(best.value)
        return best

    @property
    def _mixes(self) -> bool:
        return any(pool.phase is None for pool in self.question.pools)

    def _best(self) -> Best | None:
        ways = [way for way in self.found.values() if way is not None]
        return min(ways, key=lambda way: way.rank, default=None)

    def _until(self, share: float) -> float | None:
        if self.settings.time_limit_s is None:
            return None
        moment = now()
        return moment + max(0.1, self.settings.time_limit_s - (moment - self.started)) * share

    def _together(self) -> Best | None:
        asked = whole_alone(self.question)
        if asked is None:
            return None
        end = self._until(SHARES["together"])
        left = None if end is None else max(0.1, end - now())
        found = self.together(asked, replace(self.quiet, time_limit_s=left))
        if found.plan is None or found.outcome.fleet is None:
            return None
        plan = found.plan.model_copy(update={"instance_fingerprint": self.question.fingerprint})
        multiple = found.value if self.question.objective == "load" else None
        return Best(found.outcome.fleet, found.work, plan, multiple, "together", None)

    def _climbed(self, way: str, question: PoolsQuestion, better_than: tuple[int, int] | None) -> Best | None:
        kept = Climb(question, self.quiet, self._until(SHARES[way]), self.shared).run(better_than)
        return None if kept is None else self._kept(way, kept)

    def _kept(self, way: str, kept: Kept) -> Best:
        one = kept.candidate
        plan = one.plan.model_copy(update={"instance_fingerprint": self.question.fingerprint})
        return Best(one.fleet, one.work, plan, one.multiple, way, kept.shown)

    def _result(self, best: Best | None, outcome: PoolsOutcome | None, *, whole: bool) -> FleetResult:
        question, most_load = self.question, self.question.objective == "load"
        infeasible = best is None and outcome is not None and outcome.infeasible
        value, bound = None if best is None else best.value, _bound(best, outcome, most_load=most_load)
        crossed = best is not None and bound is None and outcome is not None and outcome.bound is not None
        status: Status = "infeasible" if infeasible else "undecided"
        if best is not None:
            status = "optimal" if bound == value else "feasible"
        late = self._end is not None and now() > self._end
        plan, work = None if best is None else _with_service(best), self._unplanned() if best is None else best.work
        return FleetResult(
            status=status,
            proof="none" if status == "undecided" else "solver-claimed",
            objective=question.objective,
            value=value,
            bound=bound,
            certified_bound=None,
            scale=self._scale,
            stop_reason="time-limit" if late else "proved" if whole and not crossed else "search-limit",
            metrics=None if best is None or plan is None else played_metrics(question, plan, best.shown),
            plan=plan,
            assumptions=(*question.assumptions, *STEADY, *premises(question)),
            instance_fingerprint=question.fingerprint,
            versions=versions(),
            seconds=now() - self.started,
            explanation=(*self._sentences(best), *([CROSSED] if crossed else [])),
            asked=Asked(work.base.demand, most_load, question.resolution),
            outcome=_outcome_of(best, outcome, work, bound),
            work=work,
        )

    @property
    def _scale(self) -> int:
        objective = self.question.objective
        return self.question.resolution if objective == "load" else UNITS[objective][1]

    @property
    def _end(self) -> float | None:
        return None if self.settings.time_limit_s is None else self.started + self.settings.time_limit_s

    def _unplanned(self) -> Work:
        """What is known where there is no fleet: the question at the slowest paces."""
        paces = {title: Pace(slowest_of(one)) for title, one in paced_scenarios(self.question).items()}
        return Work(planned(self.question, paces), self.quiet, self.shared)

    def _sentences(self, best: Best | None) -> Iterator[str]:
        if len(self.found) > 1:
            unit = UNITS[self.question.objective][0]
            ways = (
                f"{way}: " + ("none found" if one is None else f"{one.value / self._scale:.10g} {unit}")
                for way, one in self.found.items()
                if way != "some of both" or one is not None
            )
            yield "; ".join(ways)
        if best is not None and best.shown is not None:
            yield from said(best.shown.first)


CROSSED = (
    "a fleet was played that does better than requests in fixed parts can: their bound says nothing here, none is known"
)


def _bound(best: Best | None, outcome: PoolsOutcome | None, *, most_load: bool) -> int | None:
    """Return the bound of a relaxation; one that the fleet itself refutes is none."""
    if outcome is None or outcome.bound is None or best is None:
        return None if outcome is None else outcome.bound
    crossed = outcome.bound < best.value if most_load else outcome.bound > best.value
    return None if crossed else outcome.bound


def _outcome_of(best: Best | None, outcome: PoolsOutcome | None, work: Work, bound: int | None) -> PoolsOutcome:
    """Return what was found as an outcome: the fleet at its pace, the bound of the relaxation."""
    return PoolsOutcome(
        fleet=None if best is None else best.fleet,
        value=None if best is None else best.value,
        bound=bound,
        certified=None,
        refuted=work.base if outcome is None else outcome.refuted,
        tree=None,
        claimed=outcome is not None,
        out_of_time=outcome is None or outcome.out_of_time,
    )


def _with_service(best: Best) -> FleetPlan:
    """Return the plan with what the service showed beside the decode groups of each scenario."""
    if best.shown is None:
        return best.plan
    groups = []
    for group in best.plan.groups:
        names = {one.name for one in group.takes}
        own = [one for one in best.shown.first if one.scenario in names]
        shown = tuple(said(own)) if group.phase == "decode" else group.shown
        groups.append(group.model_copy(update={"shown": shown}))
    return best.plan.model_copy(update={"groups": tuple(groups)})
