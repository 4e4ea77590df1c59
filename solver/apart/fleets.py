"""One device's question as one about pools: replicas of both phases beside pools of one, in each engine's reading."""

from __future__ import annotations

from fractions import Fraction

from shardproof.instances.engine_choice import NAMED, runs_on, under_engine
from shardproof.instances.fleet_plan import FleetPlan
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan
from shardproof.instances.pools import DEFAULT_RESOLUTION, Pool, PoolsQuestion, Stock
from shardproof.instances.pools_apart import parted

_ORDER = ("prefill", "decode", None)


def readings(instance: Instance) -> dict[str, Instance]:
    """Return the question under its engine or, where none is named, free of an engine's rules and under every one."""
    if instance.engine != "any":
        return {instance.engine: instance}
    found: dict[str, Instance] = {"any": instance}
    for engine in (engine for engine in NAMED if runs_on(instance, engine)):
        found[engine] = under_engine(instance, engine)
    return found


def fleet_question(instance: Instance) -> PoolsQuestion:
    """Return the question about pools on the one device: fewest GPUs of prefill, decode and, if allowed, both."""
    device, scenarios = instance.device, instance.scenarios
    names = [scenario.name for scenario in scenarios]
    demand = [Fraction(scenario.workload.requests) for scenario in scenarios]
    pool = Pool(
        name=f"{instance.model.name} on {device.name}",
        offer=0,
        model=instance.model.name,
        places=tuple(range(len(scenarios))),
        instance=instance,
    )
    found = parted(instance.serving, names, demand, [pool], [()])
    return PoolsQuestion(
        name=instance.name,
        objective="gpus",
        resolution=DEFAULT_RESOLUTION,
        placement="packed",
        spare=None,
        offers=(Stock(name=device.name, device=device.name, node=device.devices_per_node),),
        names=found.names,
        titles=found.titles,
        demand=found.demand,
        pools=found.pools,
        serving=instance.serving,
        max_gpus=instance.max_gpus,
    )


def one_plan(instance: Instance, fleet: FleetPlan) -> Plan:
    """Return a fleet of one device as a plan: its groups with their pools, prefill first, those of both phases last."""
    ordered = sorted(fleet.groups, key=lambda group: _ORDER.index(group.phase))
    groups = tuple(
        Group(**{name: getattr(group.plan, name) for name in Group.model_fields} | {"pool": group.phase})
        for group in ordered
    )
    return Plan(
        replicas=sum(group.replicas for group in groups),
        microbatch_tokens=max(group.microbatch_tokens for group in groups),
        groups=groups,
        model=instance.model.name,
        device=instance.device.name,
        engine=instance.engine,
        instance_fingerprint=instance.fingerprint,
    )
