"""A mixed fleet as questions of one shape each: what a group of replicas is asked, and the plan that answers it.

Pools apart are asked their own phase of every scenario first (`shardproof.formulations.apart`); replicas of both phases
beside them are asked the requests that they take, and the pools the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from shardproof.formulations.apart.phases import as_together, is_steady, pool_instance
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan, Pool
from shardproof.instances.reading import refuse
from shardproof.instances.workload import Burst, OpenLoop, Workload
from shardproof.solver.evaluation.paced import paced


def questions(instance: Instance, plan: Plan) -> tuple[tuple[Instance, Plan], ...]:
    """Return each group's part of the question and its plan; a plan of one shape answers the question itself."""
    if plan.is_apart:
        return tuple(found for asked, pool in pools(instance, plan) for found in questions(asked, pool))
    if not plan.groups:
        return ((instance, plan),)
    return tuple((asked_of(instance, part), part) for part in map(plan.part, plan.groups))


def pools(instance: Instance, plan: Plan) -> tuple[tuple[Instance, Plan], ...]:
    """Return what the prefill pool and the decode pool of a plan are asked, and their plans.

    Replicas of both phases come last, where there are any.
    """
    whole, rest = parted(instance, plan)
    tokens, names = paced(rest, plan), get_args(Pool)
    found = tuple((pool_instance(rest, name, tokens), plan.in_pool(name)) for name in names)
    return found if whole is None else (*found, (whole, plan.in_pool(None)))


def parted(instance: Instance, plan: Plan) -> tuple[Instance | None, Instance]:
    """Return what replicas of both phases are asked (``None``: there are none), and what is left for the pools.

    Raises
    ------
    InputError
        If requests keep coming: how they are parted is not said then.
    """
    groups = [group for group in plan.groups if group.pool is None]
    if not groups:
        return None, instance
    if is_steady(instance):
        raise InputError("plan: groups: some serve both phases beside pools of one: such a plan answers bursts alone")
    taken = dict.fromkeys((scenario.name for scenario in instance.scenarios), 0)
    for group in groups:
        for share in group.shares:
            taken[share.scenario] = taken.get(share.scenario, 0) + share.requests * group.replicas
    counts = {scenario.name: scenario.workload.requests for scenario in instance.scenarios}
    own = {name: min(taken[name], asked) for name, asked in counts.items()}
    left = {name: asked - own[name] for name, asked in counts.items()}
    return as_together(_taking(instance, own)), _taking(instance, left if any(left.values()) else counts)


def pool_names(plan: Plan) -> tuple[Pool | None, ...]:
    """Return the pool of each of `questions` about a plan apart (``None``: both phases); nothing for other plans."""
    if not plan.is_apart:
        return ()
    return tuple(name for name in (*get_args(Pool), None) for group in plan.groups if group.pool == name)


def joined(prefill: Plan, decode: Plan) -> Plan:
    """Put the plans of two pools together."""
    parts = ((part, name) for plan, name in zip((prefill, decode), get_args(Pool), strict=True) for part in plan.parts)
    groups = tuple(
        Group(**{field: getattr(part, field) for field in Group.model_fields} | {"pool": name}) for part, name in parts
    )
    return Plan(
        replicas=sum(group.replicas for group in groups),
        microbatch_tokens=max(group.microbatch_tokens for group in groups),
        groups=groups,
        model=prefill.model,
        device=prefill.device,
        engine=prefill.engine,
        speculative=prefill.speculative,
    )


def asked_of(instance: Instance, part: Group) -> Instance:
    """Return the instance with the requests that a group takes; scenarios that it takes none of are left out.

    Raises
    ------
    InputError
        If it takes requests of no scenario.
    """
    if not part.shares:
        return instance
    found = _taking(instance, {share.scenario: share.requests * part.replicas for share in part.shares})
    if instance.scenarios and not found.scenarios:
        known = ", ".join(scenario.name for scenario in instance.scenarios)
        remedy = f"a group takes requests of no scenario; the question has {known}"
        raise refuse("plan", remedy, field="groups.shares.scenario", value=part.shares[0].scenario)
    return found


def _taking(instance: Instance, taken: Mapping[str, int]) -> Instance:
    """Return the instance with so many requests of each scenario; those of none are left out."""
    scenarios = tuple(
        scenario.model_copy(update={"workload": _with(scenario.workload, taken[scenario.name])})
        for scenario in instance.scenarios
        if taken.get(scenario.name)
    )
    return instance.model_copy(update={"scenarios": scenarios})


def _with(workload: Workload, requests: int) -> Workload:
    if isinstance(workload, OpenLoop):
        return workload  # its shares are weights at the router: nobody counts what is in flight
    field = "batch_size" if isinstance(workload, Burst) else "concurrency"
    return workload.model_copy(update={field: requests})
