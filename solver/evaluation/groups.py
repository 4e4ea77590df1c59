"""A mixed fleet as questions of one shape each: what a group of replicas is asked, and the plan that answers it.

Pools apart are asked their own phase of every scenario first (`shardproof.formulations.apart`).
"""

from __future__ import annotations

from typing import get_args

from shardproof.formulations.apart.phases import pool_instance
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan, Pool
from shardproof.instances.workload import Burst, Workload
from shardproof.solver.evaluation.paced import paced


def questions(instance: Instance, plan: Plan) -> tuple[tuple[Instance, Plan], ...]:
    """Return each group's part of the question and its plan; a plan of one shape answers the question itself."""
    if plan.is_apart:
        return tuple(found for asked, pool in pools(instance, plan) for found in questions(asked, pool))
    if not plan.groups:
        return ((instance, plan),)
    return tuple((asked_of(instance, part), part) for part in map(plan.part, plan.groups))


def pools(instance: Instance, plan: Plan) -> tuple[tuple[Instance, Plan], ...]:
    """Return what the prefill pool and the decode pool of a plan are asked, and their plans."""
    tokens, names = paced(instance, plan), get_args(Pool)
    return tuple((pool_instance(instance, name, tokens), plan.in_pool(name)) for name in names)


def pool_names(plan: Plan) -> tuple[Pool, ...]:
    """Return the pool of each of `questions` about a plan apart."""
    return tuple(name for name in get_args(Pool) for group in plan.groups if group.pool == name)


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
    """Return the instance with the requests that a group takes; scenarios that it takes none of are left out."""
    if not part.shares:
        return instance
    taken = {share.scenario: share.requests * part.replicas for share in part.shares}
    scenarios = tuple(
        scenario.model_copy(update={"workload": _with(scenario.workload, taken[scenario.name])})
        for scenario in instance.scenarios
        if taken.get(scenario.name)
    )
    return instance.model_copy(update={"scenarios": scenarios})


def _with(workload: Workload, requests: int) -> Workload:
    field = "batch_size" if isinstance(workload, Burst) else "concurrency"
    return workload.model_copy(update={field: requests})
