"""A mixed fleet as questions of one shape each: what a group of replicas is asked, and the plan that answers it."""

from __future__ import annotations

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan
from shardproof.instances.workload import Burst, Workload


def questions(instance: Instance, plan: Plan) -> tuple[tuple[Instance, Plan], ...]:
    """Return each group's part of the question and its plan; a plan of one shape answers the question itself."""
    if not plan.groups:
        return ((instance, plan),)
    return tuple((asked_of(instance, part), part) for part in map(plan.part, plan.groups))


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
