"""An operation at many sizes at once takes, at each of them, what it takes alone."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from shardproof.formulations.costs.communication import expert_collectives, own_collectives
from shardproof.formulations.costs.compute import Step, expert_operations, own_operations
from shardproof.formulations.costs.flat import FlatClock
from shardproof.formulations.costs.many import listed, many, one_by_one
from shardproof.formulations.costs.operations import LinkName, ManyClock, Operation, Shape
from shardproof.formulations.costs.roofline import Roofline
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.prefill import distinct_ceilings
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.problem import deployment_of

COUNTS = (1, 2, 3, 7, 64, 129, 5000)
OPTIONS = (Option(4, 1, 4, 1), Option(1, 16, 1, 16), Option(2, 2, 1, 4))
STEPS = (("prefill", 2048, 0), ("prefill", 512, 768), ("decode", 1, 3000))


def asked(model: str, device: str, **more: object) -> Deployment:
    burst = {"kind": "burst", "batch_size": 40, "input_tokens": 512, "output_tokens": 64}
    tree = {"model": model, "device": device, "workload": burst, "limits": {"max_gpus": 16, "ttft": "9 s"}, **more}
    return deployment_of(resolve_tree(tree, where="asked"))


def work(deployment: Deployment, kind: str, option: Option, step: Step) -> list[Operation]:
    instance = deployment.instance
    model, dtype, layer = instance.model, instance.activations, instance.model.kinds[kind]
    node = instance.device.devices_per_node
    return [
        *own_operations(model, layer, option, step, dtype),
        *own_collectives(model, layer, option, step, dtype=dtype, devices_per_node=node),
        *expert_operations(model, layer, option, step, dtype),
        *expert_collectives(model, layer, option, step, dtype=dtype, devices_per_node=node),
    ]


@pytest.mark.parametrize(
    ("model", "device", "engine"),
    [
        ("qwen3-235b-a22b", "h100-sxm", "any"),
        ("deepseek-v3.2-exp", "h200-sxm", "vllm"),
        ("deepseek-v4-pro", "b200-sxm", "any"),
        ("qwen3-next-80b-a3b-thinking", "l40s", "vllm"),
        ("gpt-oss-120b", "mi300x", "sglang"),
        ("llama-3.1-8b", "rtx-3090", "vllm"),
        ("gpt-oss-120b", "rtx-3090", "any"),
    ],
)
@pytest.mark.parametrize("step", STEPS)
def test_sizes_at_once_are_sizes_one_by_one(model: str, device: str, engine: str, step: tuple[str, int, int]) -> None:
    deployment = asked(model, device, engine=engine)
    (phase, tokens, context), clock = step, deployment.clock
    assert isinstance(clock, ManyClock)
    roofline = Roofline(deployment.instance.device)
    for kind, option in product(deployment.instance.model.kinds, OPTIONS):
        together = work(deployment, kind, option, Step(phase, many(COUNTS), tokens, context))
        alone = [work(deployment, kind, option, Step(phase, count, tokens, context)) for count in COUNTS]
        for place, operation in enumerate(together):
            single = [found[place] for found in alone]
            assert list(one_by_one(operation, len(COUNTS))) == single
            assert clock.many(operation, len(COUNTS)) == [clock.picoseconds(one)[1] for one in single]
            terms = [listed(term, len(COUNTS)) for term in roofline.terms(operation)]
            assert [max(column) for column in zip(*terms, strict=True)] == list(map(roofline.picoseconds, single))


@pytest.mark.parametrize("link", ["scale_up", "scale_out", None])
@pytest.mark.parametrize(("up", "out"), [(25, 200), (200, 25)])
def test_hand_overs_at_once_are_hand_overs_one_by_one(link: LinkName | None, up: int, out: int) -> None:
    device = asked("llama-3.1-8b", "rtx-3090").instance.device
    links = {"scale_up": up, "scale_out": out}
    changed = {
        name: getattr(device, name).model_copy(update={"bandwidth": rate * 10**9}) for name, rate in links.items()
    }
    clock = FlatClock(device.model_copy(update=changed))
    sent = Operation("sent", "p2p", message_bytes=many((1, 4095, 10**9)), link=link, shape=Shape(ranks=2))
    assert clock.many(sent, 3) == [clock.picoseconds(one)[1] for one in one_by_one(sent, 3)]


def test_counts_that_no_share_is_are_timed_alike() -> None:
    first, second = asked("llama-3.1-8b", "h100-sxm"), asked("llama-3.1-8b", "h100-sxm", limits={"max_gpus": 8})
    steps = [Step("prefill", requests, 512, 0) for requests in (39, 17, 16, 40, 4096)]
    tables = [[list(one.time_table(step, "scale_up").layer) for step in order] for one, order in (
        (first, steps), (second, steps[::-1])
    )]  # fmt: skip
    narrow = len(second.options)
    assert [table[:narrow] for table in tables[0]] == [table[:narrow] for table in tables[1][::-1]]


def test_arrays_are_neither_true_nor_false() -> None:
    size = many((1, 2))
    assert isinstance(size, np.ndarray)
    assert listed(size * 3 + 1, 2) == [4, 7]
    assert listed(5, 3) == [5, 5, 5]
    with pytest.raises(ValueError, match="ambiguous"):
        bool(size > 1)
    operation = Operation("one", "gemm", flops=many((10**30, 4)), shape=Shape(m=many((1, 2)), n=3))
    assert [(one.flops, one.shape.m, one.shape.n) for one in one_by_one(operation, 2)] == [(10**30, 1, 3), (4, 2, 3)]


@pytest.mark.parametrize("count", [*range(1, 130), 1000, 1024, 4097])
def test_distinct_ceilings_are_the_smallest_of_each(count: int) -> None:
    every = {divide_up(count, size): size for size in range(count, 0, -1)}
    assert distinct_ceilings(count) == tuple(sorted(every.values()))


@pytest.mark.parametrize(
    ("model", "device", "engine"),
    [("qwen3-30b-a3b", "h100-sxm", "vllm"), ("gemma-3-27b", "l40s", "any"), ("llama-3.1-8b", "rtx-3090", "trtllm")],
)
def test_tables_of_all_sizes_hold_the_cells_of_each(model: str, device: str, engine: str) -> None:
    deployment = asked(model, device, engine=engine)
    most = deployment.instance.scenarios[0].workload.requests
    links: tuple[LinkName, LinkName] = ("scale_up", "scale_out")
    for link, size in product(links, distinct_ceilings(most)[::3]):
        step = Step("prefill", size, 512, 0)
        assert deployment.grid(deployment.options, step) is not None
        table = deployment.time_table(step, link)
        for place in range(0, len(deployment.options), 5):
            option = deployment.options[place]
            assert tuple(table.layer[place]) == tuple(
                deployment.layer_time(kind, option, step) for kind in deployment.kind_names
            )
            ends = deployment.end_times(option, step, link)
            assert (table.entry[place], table.first[place], table.last[place]) == (ends.entry, ends.first, ends.last)
