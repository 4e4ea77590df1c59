"""A plan under an open workload, played: which limits it keeps, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from shardproof.formulations.open_loop import allowed_late, promised_by
from shardproof.formulations.scaling import limit_within_margin
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import Burst, OpenLoop, Scenario
from shardproof.solver.problem import with_confidence
from shardproof.solver.simulation.outcome import Interval, Outcome, Run, interval, least_high
from shardproof.solver.simulation.replica import Served
from shardproof.solver.simulation.simulate import Service

GLANCE = 5
"""A plan is looked at over this part of a run first: most that miss a limit miss it by far."""

ROUNDING = 1e-9

MORE_RUNS = (2, 4)
"""Factors on the number of runs where these leave a limit open."""


CLEAR = 1.1
"""One run that misses a limit by more is enough to say that what was played misses it."""


@dataclass(frozen=True)
class Verdict:
    """One limit of one scenario: what the service showed (ns or share), and whether all of its interval keeps it."""

    scenario: str
    limit_name: str
    found: Interval
    limit: float
    kept: bool

    @property
    def may_be_kept(self) -> bool:
        """Whether the runs keep the limit on average."""
        found = self.found.value
        return found >= self.limit if self.limit_name == "goodput" else found <= self.limit

    @property
    def is_near(self) -> bool:
        """Whether a limit that one run misses may be kept by several."""
        if self.limit_name == "goodput":
            return 1 - self.found.value < CLEAR * (1 - self.limit)
        return self.found.value < CLEAR * self.limit


@dataclass(frozen=True)
class Judged:
    """A plan with what it showed in service."""

    plan: Plan
    outcomes: tuple[Outcome, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def is_open(self) -> bool:
        """Whether more runs may tell: no limit is missed on average, and the interval does not keep every one."""
        missed = [verdict for verdict in self.verdicts if not verdict.kept]
        return bool(missed) and all(verdict.may_be_kept for verdict in missed)

    @property
    def keeps_all(self) -> bool:
        """Whether every limit is kept, and every request found room."""
        refused = any(run.refused for outcome in self.outcomes for run in outcome.runs)
        overloaded = any(outcome.is_overloaded for outcome in self.outcomes if len(outcome.runs) > 1)
        return not refused and not overloaded and all(verdict.kept for verdict in self.verdicts)


def within_margin(instance: Instance) -> Instance:
    """Return the instance with what its margin (or its confidence) leaves of the limits of open scenarios.

    Confidence is that of TPOT for every figure: all of them are made of iterations, and the doubt of a closed loop's
    first token is mostly that of its queue, which is played here.
    """
    if instance.confidence is not None:
        instance = with_confidence(instance, instance.confidence)
    if not instance.margin:
        return instance
    scenarios = tuple(_tightened(item, instance.margin) for item in instance.scenarios)
    return instance.model_copy(update={"scenarios": scenarios})


def _tightened(scenario: Scenario, margin: Fraction) -> Scenario:
    if not isinstance(scenario.workload, OpenLoop):
        return scenario
    limits = scenario.limits
    plain = {name: limit_within_margin(round(limit), margin) for name, limit in limits.plain.items()}
    percentiles = tuple(
        item.model_copy(update={"limit": limit_within_margin(item.limit, margin)}) for item in limits.percentiles
    )
    return scenario.model_copy(update={"limits": limits.model_copy(update={**plain, "percentiles": percentiles})})


def judged(instance: Instance, plan: Plan, service: Service) -> Judged:
    """Play a plan and hold what it shows against the limits of the open scenarios; of all, where pools are apart.

    Limits of a closed loop are of the mean request, those of a burst of the slowest. Where the runs leave open whether
    a limit is kept (their mean keeps it, their interval does not), twice as many are played, and twice as many again.
    """
    shown = _judged(instance, plan, service, None)
    loads = [scenario.workload for scenario in instance.scenarios]
    if plan.is_apart or any(isinstance(load, OpenLoop) and load.trace is not None for load in loads):
        return shown
    for factor in MORE_RUNS:
        if not shown.is_open:
            break
        shown = _judged(instance, plan, service, factor * service.settings.seeds)
    return shown


def _judged(instance: Instance, plan: Plan, service: Service, runs: int | None) -> Judged:
    outcomes = service.play(plan, watched=False, runs=runs)
    pairs = zip(within_margin(instance).scenarios, outcomes, strict=True)
    judging = (pair for pair in pairs if plan.is_apart or isinstance(pair[0].workload, OpenLoop))
    found = tuple(verdict for scenario, outcome in judging for verdict in verdicts(scenario, outcome))
    return Judged(plan, outcomes, found)


def accepted(instance: Instance, plan: Plan, service: Service) -> Judged | None:
    """Play a plan run by run: what it shows, or nothing as soon as no further run can make it keep its limits."""
    seeds = service.settings.seeds
    scenarios = [item for item in within_margin(instance).scenarios if isinstance(item.workload, OpenLoop)]
    for known in range(2, seeds):
        first = range(service.settings.seed, service.settings.seed + known)
        for scenario in scenarios:
            runs = tuple(service.run(plan, scenario, seed, watched=False) for seed in first)
            if not _may_still_keep(scenario, runs, seeds):
                return None
    shown = judged(instance, plan, service)
    return shown if shown.keeps_all else None


def _may_still_keep(scenario: Scenario, runs: tuple[Run, ...], count: int) -> bool:
    limits, plain = scenario.limits, scenario.limits.plain
    if limits.goodput is not None:
        missing = [1 - run.share_within(plain) for run in runs]
        if not _reaches(missing, float(1 - limits.goodput) + ROUNDING, count):
            return False
        plain = {}
    stated = [(item.figure, float(item.percent), float(item.limit)) for item in limits.percentiles]
    shown = [([run.quantile(figure, percent) for run in runs], limit) for figure, percent, limit in stated]
    shown += [([run.mean(figure) for run in runs], limit) for figure, limit in plain.items()]
    return all(_reaches(values, limit * (1 + ROUNDING), count) for values, limit in shown)


def _reaches(values: list[float], limit: float, count: int) -> bool:
    """Whether further runs may bring the interval below a limit: so many, or more where these keep it on average."""
    if least_high(values, count) <= limit:
        return True
    more = any(least_high(values, factor * count) <= limit for factor in MORE_RUNS)
    return more and sum(values) / count <= limit


def may_keep(instance: Instance, plan: Plan, service: Service) -> bool:
    """Whether one run of every open scenario keeps its limits; a run that cannot any more is not played to its end."""
    scenarios = (item for item in within_margin(instance).scenarios if isinstance(item.workload, OpenLoop))
    return all(_keeps_one(plan, scenario, service) for scenario in scenarios)


def _keeps_one(plan: Plan, scenario: Scenario, service: Service) -> bool:
    seed = service.settings.seed
    count = len(service.requests(scenario, seed))
    if sum(group.replicas for group in plan.parts) < GLANCE:  # of more replicas the first is a glance by itself
        glance = _Misses(scenario, count // GLANCE, generous=True)
        service.run(plan, scenario, seed, watched=False, stop=glance, first=count // GLANCE)
        if glance.too_many:
            return False
    misses = _Misses(scenario, count)
    run = service.run(plan, scenario, seed, watched=False, stop=misses)
    if misses.too_many:
        return False
    found = verdicts(scenario, Outcome(scenario.name, (run,), {}))
    return not run.refused and all(verdict.kept for verdict in found)


class _Misses:
    """Counts requests that miss a limit, until more do than may; ``generous``: three times as many, and ten."""

    def __init__(self, scenario: Scenario, count: int, *, generous: bool = False) -> None:
        needs = promised_by(scenario)
        figures = {"ttft": needs.first, "tpot": needs.token, "latency": needs.whole}
        self._limits = [
            (name, kept.limit, allowed_late(kept.share, count)) for name, found in figures.items() for kept in found
        ]
        if generous:
            self._limits = [(name, limit, 3 * most + 10) for name, limit, most in self._limits]
        self._late = [0] * len(self._limits)

    def __call__(self, served: Sequence[Served]) -> bool:
        for place, (name, limit, _) in enumerate(self._limits):
            values = (getattr(item, name) for item in served)
            self._late[place] += sum(value is not None and value > limit for value in values)
        return self.too_many

    @property
    def too_many(self) -> bool:
        """Whether some limit is missed by more requests than may miss it."""
        return any(late > most for late, (_, _, most) in zip(self._late, self._limits, strict=True))


def verdicts(scenario: Scenario, outcome: Outcome) -> Iterator[Verdict]:
    """Hold what a scenario showed against its limits, one by one."""
    limits, name = scenario.limits, scenario.name
    if isinstance(scenario.workload, Burst):
        yield from _slowest(scenario, outcome)
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


def _slowest(scenario: Scenario, outcome: Outcome) -> Iterator[Verdict]:
    """Limits of a burst's slowest request."""
    for figure, limit in scenario.limits.plain.items():
        found = interval([run.quantile(figure, 100) for run in outcome.runs])
        yield Verdict(scenario.name, f"{figure} max", found, limit, found.high <= limit)
