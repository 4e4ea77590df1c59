"""From a fleet to the plan that people and engines read."""

from __future__ import annotations

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.plans import group_of, plan_of_groups
from shardproof.formulations.fleet.fleet import Fleet
from shardproof.instances.plan import Plan, Share


def plan_of_fleet(deployment: Deployment, fleet: Fleet) -> Plan:
    """Write a fleet as a plan: its only group, or every group with its share of each scenario's requests."""
    names = [scenario.name for scenario in deployment.instance.scenarios]
    groups = []
    for group in fleet.groups:
        shares = tuple(Share(scenario=name, requests=load) for name, load in zip(names, group.load, strict=True))
        written = group_of(deployment, group.layout, group.chain, group.replicas)
        groups.append(written.model_copy(update={"shares": shares}))
    return plan_of_groups(deployment, *groups)
