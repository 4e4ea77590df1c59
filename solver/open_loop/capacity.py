"""The largest rate that one replica sustains: what it was seen to keep when played, and what nothing exceeds.

For whoever plans fleets beyond one question (pools of several devices, prices, growth): n replicas sustain no more than
n times the bound; a replica was seen to keep what is stated as played, over independent runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import inf

from shardproof.formulations.open_loop import is_open
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.workload import OpenLoop
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.open_loop.evaluated import SEEDS
from shardproof.solver.open_loop.facts import OpenScenario
from shardproof.solver.open_loop.judge import accepted, may_keep, within_margin
from shardproof.solver.open_loop.least import OptionCosts, ShapeBound
from shardproof.solver.open_loop.shapes import Shape
from shardproof.solver.simulation.simulate import Service, SimulationSettings

NEAR = Fraction(1, 50)
"""Rates are found to two percent: percentiles move by about as much from run to run."""
SLOWEST = Fraction(1, 1000)
"""A replica that does not keep this rate a second keeps none."""


@dataclass(frozen=True)
class SustainedRate:
    """Requests a second of one replica: ``played``: kept in service (0: none); ``bound``: exceeded by no replica."""

    played: Fraction
    bound: Fraction


def sustained_rate(instance: Instance, option: Option, stages: int = 1, *, seed: int = 0) -> SustainedRate:
    """Return the largest rate at which one replica keeps every limit of an instance's only scenario.

    The scenario is of ``kind: requests``, with lengths and arrivals as stated; its own rate does not count.

    Raises
    ------
    InputError
        If the instance has other scenarios too, or asks for a trace, whose rate is its own.
    """
    _require_one_rate(instance)
    shape, bound = Shape(option, stages), _bound(instance, Shape(option, stages), seed)
    if not bound or not _starts(instance, shape, seed):
        return SustainedRate(Fraction(0), bound)
    return SustainedRate(_played(instance, shape, bound, seed), bound)


def _require_one_rate(instance: Instance) -> None:
    loads = [scenario.workload for scenario in instance.scenarios]
    if len(loads) > 1 or not is_open(instance):
        remedy = "ask for one scenario of kind: requests; a rate of several has no one meaning"
        raise InputError([Problem("instance", "scenarios", f"{len(loads)} scenarios", remedy)])
    if isinstance(loads[0], OpenLoop) and loads[0].trace is not None:
        raise InputError([Problem("instance", "workload.trace", loads[0].trace.path, "state a rate and lengths")])


def at_rate(instance: Instance, rate: Fraction) -> Instance:
    """Return the question with another rate of its only scenario."""
    (scenario,) = instance.scenarios
    workload = scenario.workload.model_copy(update={"rate": rate})
    return instance.model_copy(update={"scenarios": (scenario.model_copy(update={"workload": workload}),)})


def _service(instance: Instance, seed: int) -> Service:
    return Service(instance, SimulationSettings(seeds=SEEDS, seed=seed))


def _bound(instance: Instance, shape: Shape, seed: int) -> Fraction:
    """Return the rate at which the share of the time that work takes reaches one."""
    asked = at_rate(instance, Fraction(1))
    service = _service(asked, seed)
    (scenario,) = within_margin(asked).scenarios
    open_ = OpenScenario(service, scenario)
    found = ShapeBound(OptionCosts(service, shape.option), shape, [open_])
    if found.refused(open_):
        return Fraction(0)
    needed = found.needed(open_, inf)
    return Fraction(1) / Fraction(needed).limit_denominator(10**12) if needed > 0 else Fraction(10**9)


def _starts(instance: Instance, shape: Shape, seed: int) -> bool:
    deployment = _service(at_rate(instance, Fraction(1)), seed).deployment
    return EnginePlan(deployment.instance, shape.plan(deployment, 1).parts[0]).binding.refusal is None


def _played(instance: Instance, shape: Shape, bound: Fraction, seed: int) -> Fraction:
    """Largest rate that one replica keeps in all runs, found by bisection below the bound."""
    low, high = Fraction(0), bound
    while high - low > NEAR * high and high > SLOWEST:
        middle = (low + high) / 2
        low, high = (middle, high) if _keeps(at_rate(instance, middle), shape, seed) else (low, middle)
    return low


def _keeps(instance: Instance, shape: Shape, seed: int) -> bool:
    service = _service(instance, seed)
    plan = shape.plan(service.deployment, 1)
    return may_keep(instance, plan, service) and accepted(instance, plan, service) is not None
