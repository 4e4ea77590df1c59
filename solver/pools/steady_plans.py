"""Plans of fleets with pools apart whose requests keep coming: what each replica takes, and what they showed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from shardproof.formulations.apart.paces import paced_scenarios
from shardproof.formulations.pools.build import demand_of
from shardproof.instances.fleet_plan import FleetGroup, FleetPlan, Taken
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.workload import OpenLoop
from shardproof.solver.open_loop.judge import Verdict
from shardproof.solver.pools.fleet_plans import metrics_of
from shardproof.solver.pools.result import FleetMetrics
from shardproof.solver.pools.search import Realised
from shardproof.solver.pools.steady_play import FleetService, takes_of
from shardproof.solver.simulation.outcome import Outcome


def steady_plan(question: PoolsQuestion, fixed: PoolsQuestion, fleet: Realised, plan: FleetPlan) -> FleetPlan:
    """Write what replicas of one phase take in the question's own terms: requests in flight, or a second.

    ``fixed``: the question of fixed loads that the fleet answers. Of what passes the pools each replica takes its part
    of what all replicas of its phase can take.
    """
    scenarios = paced_scenarios(question)
    groups = []
    for group, (kind, _) in zip(plan.groups, fleet.groups, strict=True):
        if group.phase is None:
            groups.append(group)
            continue
        pool, takes = question.pools[kind.pool], list[Taken]()
        for place, scenario in zip(pool.places, pool.instance.scenarios, strict=True):
            title = question.title(place)
            if title not in scenarios:
                takes += [one for one in group.takes if one.name == title]
                continue
            part = _part(question, fleet, plan, title, kind.loads[0][place], group.phase)
            rate = float(question.demand[place])
            if isinstance(scenario.workload, OpenLoop):
                left = rate * fleet_multiple(fixed, fleet, place) - _whole(plan, title)[1]
                if part:
                    takes.append(Taken(name=title, rate_per_s=max(0.0, left) * float(part)))
            elif part:
                asked = ceil(rate * fleet_multiple(fixed, fleet, place)) - _whole(plan, title)[0]
                takes.append(Taken(name=title, requests=max(1, ceil(max(0, asked) * part))))
        groups.append(group.model_copy(update={"takes": tuple(takes)}))
    return plan.model_copy(update={"groups": tuple(groups), "instance_fingerprint": question.fingerprint})


def fleet_multiple(fixed: PoolsQuestion, fleet: Realised, place: int) -> float:
    """How many times the demand a fleet was asked for (1, but where the most load is looked for)."""
    return fleet.problem.demand[place] / demand_of(fixed)[place]


def _whole(plan: FleetPlan, title: str) -> tuple[int, float]:
    """What replicas of both phases take of a scenario: requests in flight, and a second."""
    own = [(group.replicas, takes_of(group, title)) for group in plan.groups if group.phase is None]
    return sum(count * taken[0] for count, taken in own), sum(count * taken[1] for count, taken in own)


def _part(question: PoolsQuestion, fleet: Realised, plan: FleetPlan, title: str, load: int, phase: str) -> Fraction:
    """Part of what all replicas of a phase can take of a scenario that one with this load can."""
    whole = 0
    for group, (kind, count) in zip(plan.groups, fleet.groups, strict=True):
        pool = question.pools[kind.pool]
        for place in pool.places:
            if group.phase == phase and question.title(place) == title:
                whole += count * kind.loads[0][place]
    return Fraction(load, whole) if whole else Fraction(0)


@dataclass(frozen=True)
class Shown:
    """What a fleet showed in service: with all there, and what it held against limits, whatever is gone."""

    outcomes: Mapping[str, Outcome]
    verdicts: tuple[Verdict, ...]
    first: tuple[Verdict, ...] = ()
    """Those with nothing gone."""

    @classmethod
    def of(cls, question: PoolsQuestion, plan: FleetPlan, service: FleetService, multiple: int | None) -> Shown:
        """Play the groups apart of every scenario that keeps coming, and again with each that may be gone."""
        outcomes, found, first = dict[str, Outcome](), list[Verdict](), list[Verdict]()
        for title, groups in _cases(question, plan):
            scale = Fraction(multiple or question.resolution, question.resolution)
            service.asked = _passing(question, plan, scale)
            outcome, is_first = service.outcome(title, groups), title not in outcomes
            outcomes.setdefault(title, outcome)
            held = service.verdicts(title, groups, outcome)
            found += held
            first += held if is_first else ()
            if any(run.refused for run in outcome.runs) or (len(outcome.runs) > 1 and outcome.is_overloaded):
                found = [_not_kept(one) if one.scenario == title else one for one in found]
        return cls(outcomes, tuple(found), tuple(first))

    @property
    def keeps_all(self) -> bool:
        """Whether every limit is kept, whatever is gone."""
        return all(one.kept for one in self.verdicts)

    @property
    def missed(self) -> dict[str, tuple[Verdict, ...]]:
        """Limits that are missed, by scenario."""
        titles = dict.fromkeys(one.scenario for one in self.verdicts if not one.kept)
        return {
            title: tuple(one for one in self.verdicts if one.scenario == title and not one.kept) for title in titles
        }


def _not_kept(verdict: Verdict) -> Verdict:
    return Verdict(verdict.scenario, verdict.limit_name, verdict.found, verdict.limit, kept=False)


def _passing(question: PoolsQuestion, plan: FleetPlan, scale: Fraction) -> dict[str, Fraction]:
    """Requests in flight, or a second, of each scenario that pass the pools."""
    found, scenarios = {}, paced_scenarios(question)
    for place, title in enumerate(question.titles):
        if title in scenarios:
            is_open = isinstance(scenarios[title].workload, OpenLoop)
            taken = Fraction(_whole(plan, title)[is_open])
            found[title] = max(Fraction(1, 10**6) if is_open else Fraction(1), question.demand[place] * scale - taken)
    return found


def _cases(question: PoolsQuestion, plan: FleetPlan) -> Iterator[tuple[str, tuple[FleetGroup, ...]]]:
    """Yield every scenario that keeps coming with the groups apart that take it: all, then those left in each case."""
    counts = [tuple(group.replicas for group in plan.groups), *dict.fromkeys(case.replicas for case in plan.spared)]
    for title in paced_scenarios(question):
        for left in counts:
            groups = tuple(
                group.model_copy(update={"replicas": count})
                for group, count in zip(plan.groups, left, strict=True)
                if count and group.phase is not None and any(one.name == title for one in group.takes)
            )
            if groups:
                yield title, groups


def played_metrics(question: PoolsQuestion, plan: FleetPlan, shown: Shown | None) -> FleetMetrics:
    """Figures of a fleet; of what was played the 99th percentile of TTFT, mean TPOT and throughput."""
    found = metrics_of(question, plan)
    if shown is None or not shown.outcomes:
        return found
    seen = list(shown.outcomes.values())
    whole = [group for group in plan.groups if group.phase is None]
    beside = metrics_of(question, plan.model_copy(update={"groups": tuple(whole)})) if whole else None
    tokens = sum(one.throughput()["output_tokens_per_s"] for one in seen)
    tokens += 0.0 if beside is None else beside.output_tokens_per_s or 0.0
    firsts = [one.figure("ttft", 99).value / 1e9 for one in seen]
    each = [one.figure("tpot", None).value / 1e6 for one in seen]
    if beside is not None and beside.ttft_s is not None and beside.tpot_ms is not None:
        firsts, each = [*firsts, beside.ttft_s], [*each, beside.tpot_ms]
    figures = {"ttft_s": max(firsts), "tpot_ms": max(each), "output_tokens_per_s": tokens}
    return found.model_copy(update=figures)
