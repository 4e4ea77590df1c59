"""Between chains of the integer program and plans that people and engines read."""

from __future__ import annotations

from dataclasses import replace

from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.balance import is_balanced
from shardproof.formulations.deployment.build import OPTION_AXIS, Deployment
from shardproof.formulations.deployment.chains import Chain, StageChoice
from shardproof.formulations.deployment.loop_shapes import loop_shape
from shardproof.formulations.deployment.prefill import decoded
from shardproof.formulations.deployment.tables import Layout, Program
from shardproof.formulations.engines.told import default_batch
from shardproof.instances.drafts import asked_again
from shardproof.instances.option import Option
from shardproof.instances.plan import Group, Microbatches, Plan, Stage
from shardproof.instances.workload import ClosedLoop

_PREFILL_TOKENS = 8192
"""Tokens of a burst's prefill microbatch where no search chose them."""


def plan_of(deployment: Deployment, chain: Chain) -> Plan:
    """Write a chain of replicas that are all alike as a plan."""
    layout = deployment.program.layouts[chain.layout]
    return plan_of_groups(deployment, group_of(deployment, layout, chain, layout.replicas))


def plan_of_groups(deployment: Deployment, *groups: Group) -> Plan:
    """Put groups together as the plan of a deployment."""
    instance, alike = deployment.instance, groups[0] if len(groups) == 1 else None
    return Plan(
        replicas=sum(group.replicas for group in groups),
        microbatch_tokens=max(group.microbatch_tokens for group in groups),
        microbatches=() if alike is None else alike.microbatches,
        stages=() if alike is None else alike.stages,
        placement=None if alike is None else alike.placement,
        groups=groups if alike is None else (),
        model=instance.model.name,
        device=instance.device.name,
        engine=instance.engine,
        speculative=asked_again(instance.speculative),
        instance_fingerprint=instance.fingerprint,
    )


def group_of(deployment: Deployment, layout: Layout, chain: Chain, replicas: int) -> Group:
    """Write a chain as a group; decode microbatches not decided by the program are one per request."""
    values = {axis.name: axis.choices[place].value for axis, place in zip(layout.axes, chain.choices, strict=True)}
    scenarios = deployment.instance.scenarios
    microbatches = []
    for scenario, requests in zip(scenarios, layout.load, strict=True):
        if not requests:
            continue
        loop = loop_shape(values.get(f"decode_requests[{scenario.name}]", 1))
        size, chunks = decoded(values.get(f"prefill_requests[{scenario.name}]", 1))
        microbatches.append(
            Microbatches(
                scenario=scenario.name,
                prefill_requests=size,
                prompt_chunks=chunks,
                decode_microbatches=divide_up(requests, loop.size),
                chunk_tokens=loop.chunk,
            )
        )
    return Group(
        replicas=replicas,
        microbatch_tokens=_microbatch_tokens(deployment, microbatches[0], deployment.options[chain.stages[0].option]),
        microbatches=tuple(microbatches),
        stages=tuple(
            Stage.of((stage.start, stage.stop - 1), deployment.options[stage.option]) for stage in chain.stages
        ),
        placement=_placement(deployment, chain),
    )


def group_of_stages(deployment: Deployment, stages: tuple[Stage, ...], replicas: int) -> Group:
    """Return replicas of given stages as a group: sequences run as one microbatch for each stage."""
    option, runs = stages[0].option, []
    for scenario in deployment.instance.scenarios:
        requests = divide_up(scenario.workload.requests, replicas)
        loop = isinstance(scenario.workload, ClosedLoop)
        size = 1 if loop else min(requests, max(1, _PREFILL_TOKENS // scenario.workload.input_tokens))
        decode = min(len(stages), requests) if loop else 1
        runs.append(Microbatches(scenario=scenario.name, prefill_requests=size, decode_microbatches=decode))
    chosen = tuple(
        StageChoice(stage.layers[0], stage.layers[1] + 1, deployment.options.index(stage.option)) for stage in stages
    )
    return Group(
        replicas=replicas,
        microbatch_tokens=_microbatch_tokens(deployment, runs[0], option),
        microbatches=tuple(runs),
        stages=stages,
        placement=_placement(deployment, Chain(0, (), chosen)),
    )


def _microbatch_tokens(deployment: Deployment, runs: Microbatches, option: Option) -> int:
    """Prompt tokens of one prefill microbatch; of one iteration, where an engine serves a closed loop."""
    scenarios, engine = deployment.instance.scenarios, deployment.engine
    scenario = next(scenario for scenario in scenarios if scenario.name == runs.scenario)
    if engine is not None and isinstance(scenario.workload, ClosedLoop):
        return (runs.chunk_tokens or default_batch(deployment.instance, engine)) * option.attn_dp
    return runs.prefill_requests * divide_up(scenario.workload.input_tokens, runs.prompt_chunks)


def _placement(deployment: Deployment, chain: Chain) -> tuple[tuple[int, ...], ...] | None:
    """Expert on each slot of every layer, rank by rank; empty for layers without expert parallelism."""
    if deployment.imbalance is None:
        return None
    routed = iter(deployment.imbalance)
    tables = [next(routed) if is_balanced(kind) else {} for kind in deployment.layer_kinds]
    rows: list[tuple[int, ...]] = []
    for stage in chain.stages:
        option = deployment.options[stage.option]
        for table in tables[stage.start : stage.stop]:
            found = table.get((option.moe_ep, option.extra_slots))
            rows.append(() if found is None else tuple(expert for rank in found.slots for expert in rank))
    return tuple(rows)


def moved(chain: Chain, source: Program, target: Program) -> Chain:
    """Return the same chain in another program of the same question (`Deployment.limited`)."""
    before = source.layouts[chain.layout]
    place, after = next(
        (place, layout)
        for place, layout in enumerate(target.layouts)
        if layout.name == before.name and (layout.max_gpus is None or before.max_gpus == layout.max_gpus)
    )
    stages = tuple(replace(stage, option=target.options.index(source.options[stage.option])) for stage in chain.stages)
    choices = []
    for old, new, picked in zip(before.axes, after.axes, chain.choices, strict=True):
        value = old.choices[picked].value
        if old.name == OPTION_AXIS:
            value = stages[0].option
        choices.append(next(index for index, choice in enumerate(new.choices) if choice.value == value))
    return Chain(place, tuple(choices), stages)
