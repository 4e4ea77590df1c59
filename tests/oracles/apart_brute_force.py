"""Pools apart by trying every chain of stages of every width, every microbatch and every fleet.

Written from docs/apart.md: cells (bytes and ns of one layer and of the ends) are the program's own, everything that is
made of them is summed and played here.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

from shardproof.formulations.apart.phases import as_together
from shardproof.formulations.apart.transfer import sending_time
from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.memory import layer_kv_bytes
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import Variant
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.problem import deployment_of

Stages = tuple[tuple[int, int, Option], ...]
"""First layer, layer after the last, option."""


def small_instance(seed: int, **fields: Any) -> Instance:
    """Return a random question about the first layers of a model, on devices that hold few of them."""
    chance = random.Random(seed)
    tree: dict[str, Any] = {
        "model": chance.choice(["qwen3-8b", "qwen3-30b-a3b", "deepseek-v2-lite"]),
        "device": "a100-80-sxm",
        "efficiency": "flat",
        "workload": {
            "kind": "burst",
            "input_tokens": chance.choice([512, 2048, 4096]),
            "output_tokens": chance.choice([64, 512, 2048]),
            "batch_size": chance.randint(2, 12),
        },
        "limits": {"max_gpus": 12},
        "max_stage_gpus": 2,
        "runtime_reserve": "100 MB",
        "serving": "apart",
        "transfer": {"bandwidth": chance.choice(["1 GB/s", "10 GB/s", "100 GB/s"]), "setup": "2 ms"},
    }
    found = resolve_tree(tree | fields, where="test")
    kinds = found.model.layer_kinds[: chance.randint(2, 3)]
    found = found.model_copy(update={"model": found.model.model_copy(update={"layer_kinds": kinds})})
    return _limited(found, chance)


def _limited(instance: Instance, chance: random.Random) -> Instance:
    """Set limits about what one device of all layers does with a few requests: often just what it takes."""
    deployment, load = deployment_of(as_together(instance)), instance.scenarios[0].workload
    whole = ((0, len(deployment.layer_kinds), Option(1, 1, 1, 1)),)
    some = chance.randint(1, load.requests)
    first = sum(_times(deployment, whole, Step("prefill", some, load.input_tokens, 0, loop=False)))
    token = sum(_times(deployment, whole, _decode_step(load, some)))
    sent = sending_time(instance, load.input_tokens) * some
    kept = max(_memory(deployment, whole, _decode_step(load, 1), some, load.input_tokens + load.output_tokens))
    scenario = instance.scenarios[0]
    limits = scenario.limits.model_copy(
        update={"ttft": first + sent + chance.choice([0, 0, sent // 2]), "tpot": token * chance.choice([4, 6, 8]) // 6}
    )
    changes = {"scenarios": (scenario.model_copy(update={"limits": limits}),), "memory_limit": kept * 5 // 4}
    return instance.model_copy(update=changes)


def fewest_of_pools(instance: Instance) -> tuple[int | None, int | None]:
    """Fewest GPUs of the prefill pool and of the decode pool, each at most one fewer than there are."""
    deployment = deployment_of(as_together(instance))
    return tuple(_fewest(instance, [*carried_by(deployment, pool)]) for pool in ("prefill", "decode"))  # type: ignore[return-value]


def _fewest(instance: Instance, carried: list[int]) -> int | None:
    """Fewest GPUs of a fleet whose replicas of g GPUs carry ``carried[g]`` requests each."""
    budget, demand = instance.max_gpus - 1, instance.scenarios[0].workload.requests
    most = [0] * (budget + 1)
    for gpus in range(1, budget + 1):
        most[gpus] = max(most[gpus - width] + carried[width] for width in range(1, gpus + 1))
    return next((gpus for gpus, held in enumerate(most) if held >= demand), None)


def fewest_of_mixes(instance: Instance) -> int | None:
    """Fewest GPUs of any replicas of one phase and of both; ``None``: there are too few."""
    deployment = deployment_of(as_together(instance))
    demand = instance.scenarios[0].workload.requests
    parts = {"prefill": (1, 0), "decode": (0, 1), "both": (1, 1)}
    carried = {pool: [*carried_by(deployment, pool)] for pool in parts}
    reached: list[set[tuple[int, int]]] = [{(0, 0)}]
    for gpus in range(1, instance.max_gpus + 1):
        reached.append(set())
        for width, (pool, (sent, taken)) in product(range(1, gpus + 1), parts.items()):
            most = carried[pool][width] if width < len(carried[pool]) else 0
            reached[gpus] |= {
                (min(demand, prompts + sent * most), min(demand, requests + taken * most))
                for prompts, requests in reached[gpus - width]
                if most
            }
        if (demand, demand) in reached[gpus]:
            return gpus
    return None


def carried_by(deployment: Deployment, pool: str) -> Iterator[int]:
    """Most requests that a replica of 0, 1, 2, ... GPUs carries in a pool, or of ``both`` phases."""
    demand = deployment.instance.scenarios[0].workload.requests
    chains: dict[int, list[Stages]] = {}
    for stages in _chains(deployment):
        chains.setdefault(sum(option.gpus for *_, option in stages), []).append(stages)
    keeps = {"prefill": _prefills, "decode": _decodes, "both": _serves}[pool]
    for gpus in range(deployment.instance.max_gpus):
        held = [q for q in range(1, demand + 1) if any(keeps(deployment, stages, q) for stages in chains.get(gpus, ()))]
        yield max(held, default=0)


def _chains(deployment: Deployment) -> Iterator[Stages]:
    layers = len(deployment.layer_kinds)
    for cuts in product((False, True), repeat=layers - 1):
        ends = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), layers]
        ranges = list(pairwise(ends))
        for options in product(deployment.options, repeat=len(ranges)):
            yield tuple((start, stop, option) for (start, stop), option in zip(ranges, options, strict=True))


def _serves(deployment: Deployment, stages: Stages, requests: int) -> bool:
    """Whether a replica prefills and decodes so many requests, all of each resident from the start, nothing sent."""
    load = deployment.instance.scenarios[0].workload
    whole = load.input_tokens + load.output_tokens
    return _prefills(deployment, stages, requests, 0, whole) and _decodes(deployment, stages, requests)


def _prefills(
    deployment: Deployment, stages: Stages, requests: int, one: int | None = None, kept: int | None = None
) -> bool:
    """Play every microbatch through stages and link, for every size of microbatches.

    ``one``: ns that the cache of one request takes its link, ``kept``: tokens of a request that are resident (left out:
    those of a pool that prefills alone).
    """
    instance, scenario = deployment.instance, deployment.instance.scenarios[0]
    load, limit = scenario.workload, scenario.limits.ttft
    assert limit is not None
    one = sending_time(instance, load.input_tokens) if one is None else one
    kept = load.input_tokens if kept is None else kept
    for size in range(1, requests + 1):
        step = Step("prefill", size, load.input_tokens, 0, loop=False)
        if max(_memory(deployment, stages, step, requests, kept)) > instance.memory_limit:
            continue
        free = [0] * (len(stages) + 1)
        passes = [*_times(deployment, stages, step), size * one]
        for _ in range(-(-requests // size)):
            ready = 0
            for place, time in enumerate(passes):
                ready = free[place] = max(ready, free[place]) + time
        if free[-1] <= limit:
            return True
    return False


def _decodes(deployment: Deployment, stages: Stages, requests: int) -> bool:
    scenario = deployment.instance.scenarios[0]
    load, limit = scenario.workload, scenario.limits.tpot
    assert limit is not None
    for size in range(1, requests + 1):
        step = _decode_step(load, size)
        kept = max(_memory(deployment, stages, step, requests, load.input_tokens + load.output_tokens))
        times = _times(deployment, stages, step)
        token = max(sum(times), -(-requests // size) * max(times))
        if kept <= deployment.instance.memory_limit and token <= limit:
            return True
    return False


def _decode_step(load: Any, size: int) -> Step:
    return Step("decode", size, 1, load.input_tokens + -(-load.output_tokens // 2), loop=False)


def _times(deployment: Deployment, stages: Stages, step: Step) -> list[int]:
    found = []
    for start, stop, option in stages:
        ends = deployment.end_times(option, step, "scale_up")
        layers = Counter(deployment.layer_kinds[start:stop])
        inside = sum(deployment.layer_time(kind, option, step) * count for kind, count in layers.items())
        last = ends.last if stop == len(deployment.layer_kinds) else 0
        found.append(inside + (ends.entry if start else ends.first) + last)
    return found


def _memory(deployment: Deployment, stages: Stages, step: Step, requests: int, tokens: int) -> list[int]:
    instance, layers = deployment.instance, len(deployment.layer_kinds)
    single = len(stages) == 1 and instance.model.tied
    variant, found = Variant(1, "scale_up", single, (requests,)), []
    for start, stop, option in stages:
        parts = deployment.memory_parts(variant, instance.scenarios[0], step, option)
        kept = parts.base + (parts.entry if start else parts.first) + (parts.last if stop == layers else 0)
        for kind in deployment.layer_kinds[start:stop]:
            layer = instance.model.kinds[kind]
            kept += deployment.layer_weights(kind, option)
            kept += layer_kv_bytes(instance.model, layer, option, requests=requests, tokens=tokens)
        found.append(kept)
    return found
