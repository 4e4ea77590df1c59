"""Figures of a plan under open scenarios: its costs with the usual requests in flight, and what it showed in service.

Memory and the times of stages are those of the closed loop with as many requests in flight as the service had on
average; latencies, throughput and limits are what was played. One home for `solve`, `predict`, `audit` and `compare`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, isfinite

from shardproof.formulations.apart.phases import as_together
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.open_loop import closed, is_open
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import OpenLoop, Scenario
from shardproof.solver.evaluation.engine_plan import admitted
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.figures import Check, Evaluation, GroupFigures, ScenarioFigures, Violation
from shardproof.solver.open_loop.judge import Judged, judged
from shardproof.solver.problem import deployment_of
from shardproof.solver.simulation.outcome import Outcome
from shardproof.solver.simulation.simulate import Service, SimulationSettings

SEEDS = 5
"""Independent runs by which a plan is judged."""


@dataclass(frozen=True)
class ServedFigures(ScenarioFigures):
    """Figures whose latencies were played, ns: p99 and mean TTFT, mean TPOT; ``rate``: requests a second."""

    served_ttft: int = 0
    served_mean: float = 0.0
    served_tpot: int = 0
    rate: float = 0.0

    @property
    def ttft(self) -> int:
        """99th percentile of TTFT in service, ns."""
        return self.served_ttft

    @property
    def ttft_mean(self) -> float:
        """Mean TTFT in service, ns."""
        return self.served_mean

    @property
    def tpot(self) -> int:
        """Mean TPOT in service, ns."""
        return self.served_tpot

    @property
    def residence(self) -> int:
        """Time in the service by Little's law: requests in flight over their rate, ns."""
        return round(1e9 * self.scenario.workload.requests / self.rate) if self.rate else super().residence


def service_of(instance: Instance, *, seed: int = 0) -> Service:
    """Return the service by which plans of a question are judged; the latest ones are kept with their times."""
    key = (instance.fingerprint, seed)
    found = _kept.pop(key, None) or Service(instance, SimulationSettings(seeds=SEEDS, seed=seed))
    _kept[key] = found
    for old in list(_kept)[:-2]:
        del _kept[old]
    return found


_kept: dict[tuple[str, int], Service] = {}


def question_deployment(instance: Instance) -> Deployment:
    """Return the deployment problem that a plan without pools is held against, of any question."""
    return service_of(instance).deployment if is_open(instance) else deployment_of(as_together(instance))


def evaluate_any(instance: Instance, plan: Plan, *, deployment: Deployment | None = None) -> Evaluation:
    """Evaluate a plan of any question: open scenarios are played.

    Raises
    ------
    InputError
        If the plan is not one of the instance's model.
    """
    if plan.is_apart and is_open(instance):
        return _evaluated_apart(instance, plan)
    if plan.is_apart or not is_open(instance):
        return evaluate(instance, plan, deployment=deployment)
    return evaluate_judged(instance, judged(instance, plan, service_of(instance)))


def _evaluated_apart(instance: Instance, plan: Plan) -> Evaluation:
    """Evaluate pools of open scenarios: memory and rates of each by formula, the limits as the whole path is played."""
    found, shown = evaluate(instance, plan), judged(instance, plan, service_of(instance))
    played = _violations(instance, shown)
    return Evaluation(found.groups, (*found.violations, *played), (*found.checks, *_checks(shown)))


def evaluate_judged(instance: Instance, shown: Judged) -> Evaluation:
    """Evaluate a plan of open scenarios that was played already."""
    pairs = tuple(zip(instance.scenarios, shown.outcomes, strict=True))
    outcomes = {scenario.name: outcome for scenario, outcome in pairs if isinstance(scenario.workload, OpenLoop)}
    flight = {name: min(_flight(outcome), _held(instance, shown.plan, name)) for name, outcome in outcomes.items()}
    asked = closed(instance, flight)
    found = evaluate(asked, shown.plan, deployment=deployment_of(asked))
    groups = tuple(
        GroupFigures(one.group, tuple(_served(figures, outcomes) for figures in one.scenarios)) for one in found.groups
    )
    checks = (*found.checks, *_checks(shown))
    return Evaluation(groups, (*found.violations, *_violations(instance, shown)), checks)


def _flight(outcome: Outcome) -> int:
    """Requests in flight on average, by Little's law: completions a second times their end-to-end time."""
    seconds = outcome.figure("e2e", None).value / 1e9
    return max(1, ceil(outcome.throughput()["requests_per_s"] * seconds)) if isfinite(seconds) else 1


def _held(instance: Instance, plan: Plan, name: str) -> int:
    """Requests that the caches of all replicas hold, and their engines run, at once; what waits takes no memory."""
    alone = closed(instance)
    scenario = next(item for item in alone.scenarios if item.name == name)
    return sum(group.replicas * admitted(alone, group, scenario) for group in plan.parts)


def _served(figures: ScenarioFigures, outcomes: dict[str, Outcome]) -> ScenarioFigures:
    outcome = outcomes.get(figures.scenario.name)
    if outcome is None or not any(run.finished for run in outcome.runs):
        return figures
    return ServedFigures(
        **{name: getattr(figures, name) for name in ScenarioFigures.__dataclass_fields__},
        served_ttft=round(outcome.figure("ttft", 99).value),
        served_mean=outcome.figure("ttft", None).value,
        served_tpot=max(1, round(outcome.figure("tpot", None).value)),
        rate=outcome.throughput()["requests_per_s"],
    )


def _checks(shown: Judged) -> Iterator[Check]:
    """Limits that the service was held against, by the upper end of the interval over its runs."""
    for verdict in shown.verdicts:
        if verdict.limit_name != "goodput":
            high = verdict.found.high
            value = round(high) if isfinite(high) else 0
            yield Check(_group(verdict.limit_name, verdict.scenario), "service", value, round(verdict.limit), "ns")


def _violations(instance: Instance, shown: Judged) -> Iterator[Violation]:
    for check in _checks(shown):
        if check.slack < 0:
            yield check.broken()
    for verdict in shown.verdicts:
        if verdict.limit_name == "goodput" and not verdict.kept:
            found, limit = round(verdict.found.low * 1e6), round(verdict.limit * 1e6)
            yield Violation(_group("goodput", verdict.scenario), "service", found, limit, "good requests of a million")
    for scenario, outcome in zip(instance.scenarios, shown.outcomes, strict=True):
        if isinstance(scenario.workload, OpenLoop) and outcome.is_overloaded:
            waiting = outcome.runs[0].waiting(max(item.request.arrival_ns for item in outcome.runs[0].served))
            yield Violation(f"load[{scenario.name}]", "service", waiting, 0, "requests that pile up")
        refused = sum(run.refused for run in outcome.runs)
        if refused:
            yield Violation(f"cache[{scenario.name}]", "service", refused, 0, "requests longer than the cache")


def _group(limit_name: str, scenario: str) -> str:
    """Name of a limit's row: ``ttft_p99[main]``."""
    figure, _, rest = limit_name.partition(" ")
    return f"{figure}{'' if rest in ('', 'mean') else f'_{rest}'}[{scenario}]"


def in_scenario(violation: Violation, scenario: Scenario) -> bool:
    """Whether a violation is of a scenario, or of all."""
    return "[" not in violation.group or violation.group.endswith(f"[{scenario.name}]")


def with_group(found: Evaluation, place: int) -> Evaluation:
    """Return the figures of one group alone."""
    return replace(found, groups=(found.groups[place],))
