"""A plan under an open workload, played: which limits it keeps, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import OpenLoop, Scenario
from shardproof.solver.simulation.outcome import Interval, Outcome, interval
from shardproof.solver.simulation.simulate import SimulationSettings, simulate


@dataclass(frozen=True)
class Verdict:
    """One limit of one scenario: what the service showed (ns or share), and whether all of its interval keeps it."""

    scenario: str
    limit_name: str
    found: Interval
    limit: float
    kept: bool


@dataclass(frozen=True)
class Judged:
    """A plan with what it showed in service."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def keeps_all(self) -> bool:
        """Whether every limit is kept, and every request found room."""
        refused = any(run.refused for outcome in self.outcomes for run in outcome.runs)
        return not refused and all(verdict.kept for verdict in self.verdicts)


def judged(instance: Instance, plan: Plan, settings: SimulationSettings) -> Judged:
    """Play a plan and hold what it shows against the limits of the open scenarios."""
    outcomes = simulate(instance, plan, settings)
    pairs = zip(instance.scenarios, outcomes, strict=True)
    verdicts = tuple(verdict for scenario, outcome in pairs for verdict in _verdicts(scenario, outcome))
    return Judged(plan, outcomes, verdicts)


def _verdicts(scenario: Scenario, outcome: Outcome) -> Iterator[Verdict]:
    limits, name = scenario.limits, scenario.name
    if not isinstance(scenario.workload, OpenLoop):
        return
    for item in limits.percentiles:
        found = outcome.figure(item.figure, float(item.percent))
        yield Verdict(name, f"{item.figure} p{float(item.percent):g}", found, item.limit, found.high <= item.limit)
    plain = limits.plain
    if limits.goodput is not None:
        shares = interval([run.share_within(plain) for run in outcome.runs])
        yield Verdict(name, "goodput", shares, float(limits.goodput), shares.low >= float(limits.goodput))
        return
    for figure, limit in plain.items():
        found = outcome.figure(figure, None)
        yield Verdict(name, f"{figure} mean", found, limit, found.high <= limit)
