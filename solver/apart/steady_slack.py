"""How far inputs may worsen where pools apart are played: until the plan misses a limit, until the bound refutes it.

Values are found by bisection, to a percent, and to a twentieth where fewer GPUs are refuted: a service is
played, and its percentiles move by about as much from run to run. What lies between is open.
"""

from __future__ import annotations

from shardproof.formulations.apart.phases import as_together
from shardproof.formulations.open_loop import is_open
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.analysis.inputs import Input, inputs_of
from shardproof.solver.analysis.sensitivity import Slack, Step, enough
from shardproof.solver.apart.bound import Bound
from shardproof.solver.apart.slack import link_inputs
from shardproof.solver.apart.steady import solve_steady
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.open_loop import slack as played
from shardproof.solver.open_loop.evaluated import SEEDS
from shardproof.solver.open_loop.judge import judged
from shardproof.solver.open_loop.search import fewest_gpus
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import Service, SimulationSettings


def inputs(instance: Instance) -> tuple[Input, ...]:
    """Every input whose worsening can only make the answer worse, those of the link among them."""
    own = played.open_inputs(instance) if is_open(instance) else inputs_of(instance)
    return (*own, *link_inputs(instance))


def slack_of(item: Input, plan: Plan, gpus: int) -> Slack:
    """How far one input may worsen."""
    until = played.last_near(lambda value: keeps(item.changed(value), plan), item, played.PERCENT)
    beyond = played.last_near(lambda value: may_suffice(item.changed(value), gpus), item, played.COARSE)
    return Slack(item.name, item.unit, item.value, until, until, beyond)


def keeps(instance: Instance, plan: Plan) -> bool:
    """Whether a plan keeps every limit: pools as they are played, replicas of both phases as they are judged alone."""
    whole = as_together(instance)
    if not plan.is_apart:
        return played.keeps(whole, plan) if is_open(whole) else not evaluate(whole, plan).violations
    seeds = SEEDS if is_open(instance) else 1
    try:
        return judged(instance, plan, Service(instance, SimulationSettings(seeds=seeds))).keeps_all
    except InputError:
        return False  # no request fits the cache any more


def may_suffice(instance: Instance, gpus: int) -> bool:
    """Whether so many GPUs are not refuted: for pools apart or, if allowed, for replicas of both phases."""
    if gpus > 1 and Bound(instance.model_copy(update={"max_gpus": gpus}), gpus + 1).find()[0] <= gpus:
        return True
    if instance.serving == "apart":
        return False
    whole = as_together(instance)
    return fewest_gpus(whole, gpus) <= gpus if is_open(whole) else enough(whole, gpus, floor=True)


def curve(item: Input, values: tuple[int, ...]) -> tuple[Step, ...]:
    """Fewest GPUs of pools apart, and their bound, at each value of an input."""
    found = ((value, solve_steady(item.changed(value), Settings(explain=False))) for value in values)
    return tuple(Step(value, result.gpus, result.bound) for value, result in found)
