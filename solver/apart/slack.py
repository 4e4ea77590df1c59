"""How far inputs of a burst may worsen where prefill and decode may be apart: limits, requests, device, the link."""

from __future__ import annotations

from shardproof.formulations.apart.phases import as_together, pool_instance
from shardproof.formulations.apart.transfer import link_of
from shardproof.formulations.deployment.build import limited
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.analysis.inputs import Input, inputs_of
from shardproof.solver.analysis.limiting import fewest_gpus
from shardproof.solver.analysis.sensitivity import Slack, Step, enough
from shardproof.solver.analysis.sensitivity import slack_of as slack_under
from shardproof.solver.apart.fleets import fleet_question
from shardproof.solver.pools.solve import solve_pools
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.settings import Settings

QUIET = Settings(explain=False, certify=False)


def apart_inputs(instance: Instance) -> tuple[Input, ...]:
    """Every input of the question, and those of the link between the pools."""
    return (*inputs_of(instance), *link_inputs(instance))


def link_inputs(instance: Instance) -> tuple[Input, ...]:
    """Inputs of the link between the pools."""
    link = link_of(instance)

    def linked(name: str, value: int) -> Instance:
        transfer = instance.transfer.model_copy(update={name: value})
        return instance.model_copy(update={"transfer": transfer})

    return (
        Input("transfer bandwidth", "bytes/s", int(link.bandwidth), True, lambda value: linked("bandwidth", value)),
        Input("transfer setup", "ns", max(1, link.setup), False, lambda value: linked("setup", value)),
    )


def suffices(instance: Instance, gpus: int, *, floor: bool = False) -> bool:
    """Whether so many GPUs are enough for some plan apart (or, if allowed, together or a mix of both)."""
    if instance.serving == "any" and enough(as_together(instance), gpus, floor=floor):
        return True
    if gpus < 2:
        return False
    if not floor and _apart(instance, gpus) is not None:
        return True
    if instance.serving == "apart" and not floor:
        return False
    question = fleet_question(limited(instance, gpus))
    found = solve_pools(question, QUIET)
    return found.status != "infeasible" if floor else found.gpus is not None


def _apart(instance: Instance, most: int) -> int | None:
    """Fewest GPUs of both pools, if that is no more than so many."""
    prefill = fewest_gpus(deployment_of(limited(pool_instance(instance, "prefill"), most - 1)))
    if prefill is None:
        return None
    left = most - prefill
    decode = fewest_gpus(deployment_of(limited(pool_instance(instance, "decode"), left))) if left else None
    return None if decode is None else prefill + decode


def slack_of(item: Input, plan: Plan, gpus: int) -> Slack:
    """How far one input may worsen."""
    return slack_under(item, plan, gpus, suffices)


def curve(item: Input, values: tuple[int, ...]) -> tuple[Step, ...]:
    """Fewest GPUs and the bound at each value of an input."""
    found = ((value, solve_pools(fleet_question(item.changed(value)), QUIET)) for value in values)
    return tuple(Step(value, one.gpus, one.bound) for value, one in found)
