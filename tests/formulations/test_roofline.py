"""Below physics: no clock and no fit passes the datasheet, over models x devices x engines of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import pytest

from shardproof.formulations.costs.clocks import clock_of
from shardproof.formulations.costs.compute import Step, head_operation, layer_operations
from shardproof.formulations.costs.memory import expert_bytes, head_bytes, kv_bytes_read, layer_weight_bytes
from shardproof.formulations.costs.operations import Operation, Shape
from shardproof.formulations.costs.roofline import Roofline
from shardproof.formulations.costs.serving.closed_loop import StepClock
from shardproof.formulations.costs.sharding import slots_per_rank
from shardproof.instances.catalogue import device_names, load_device, load_model, model_names
from shardproof.instances.hardware import Device
from shardproof.instances.layers import MixtureOfExperts
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree

ENGINES = ("any", "vllm", "sglang", "trtllm")
OPTIONS = (Option(1, 1, 1, 1), Option(8, 1, 8, 1), Option(1, 8, 1, 8), Option(4, 2, 2, 4))
INPUT, OUTPUT = 2000, 500
ROUNDING = 1 - 1e-9
STRIDE = 5527
"""A prime: about twenty cells of all, spread over models, devices, engines and options."""


@cache
def model_of(name: str) -> Model:
    return load_model(name)


@cache
def device_of(name: str) -> Device:
    return load_device(name)


def every(stride: int) -> Iterator[tuple[str, str, str, Option]]:
    """Every ``stride``-th of models x devices x engines x options; all devices, models and engines come up."""
    cells = product(model_names(), device_names(), ENGINES, OPTIONS)
    return (cell for place, cell in enumerate(cells) if place % stride == 0)


def read_seconds(model: Model, device: Device, option: Option, *, context: int) -> float:
    """Weights that one token needs, and its cache, over the bandwidth; experts of one token only."""
    total = float(head_bytes(model, option))
    for kind in model.layer_kinds:
        layer = model.kinds[kind]
        total += layer_weight_bytes(model, layer, option) + kv_bytes_read(model, layer, option, context, queries=1)
        if isinstance(layer.feed_forward, MixtureOfExperts):
            held = slots_per_rank(layer.feed_forward, option)
            share = 1 - layer.feed_forward.topk / layer.feed_forward.experts
            total -= held * share * expert_bytes(model.stored_as(layer), layer.feed_forward, option)
    return total / float(device.memory_bandwidth)


def prompt_flops(model: Model, option: Option, tokens: int) -> float:
    """FLOPs of a prompt's linear layers on one device, experts shared out equally."""
    return 2 * tokens * (model.active_parameters - 2 * model.vocab * model.hidden) / option.gpus


@pytest.mark.parametrize(
    "stride",
    [STRIDE, pytest.param(2003, marks=pytest.mark.slow(reason="sixty cells, each with curves of its own"))],
)
def test_no_fitted_time_is_below_the_datasheet(stride: int) -> None:
    seen = set()
    for name, device_name, engine, option in every(stride):
        model, device = model_of(name), device_of(device_name)
        clock = StepClock(model, device, engine)
        served = clock.serve(option, concurrency=option.attn_dp, input_tokens=INPUT, output_tokens=OUTPUT)
        cell = (name, device_name, engine, option)
        assert served.tpot >= read_seconds(model, device, option, context=INPUT) * ROUNDING, cell
        assert sum(served.operations.values()) == pytest.approx(served.tpot), cell
        fastest = float(max(device.peak_flops.values()))
        least = prompt_flops(model, option, INPUT) / fastest
        assert option.attn_dp > 1 or clock.interference(option, tokens=INPUT) >= least * ROUNDING, cell
        seen |= {name, device_name, engine}
    assert seen >= {*ENGINES, "b200-sxm", "l40s", "mi300x"}


def test_every_clock_stays_above_the_datasheet() -> None:
    for name, device_name, engine, option in every(STRIDE):
        tree = {"model": name, "device": device_name, "engine": engine, "workload": WORKLOAD}
        if engine != "any" and engine not in (device_of(device_name).engines or ENGINES):
            continue  # refused: the engine does not run there
        instance = resolve_tree(tree, where="test")
        clock, floor = clock_of(instance), Roofline(instance.device)
        for operation in operations(instance.model, option):
            down, up = clock.picoseconds(operation)
            assert down + 1 >= floor.picoseconds(operation), (name, device_name, engine, operation)
            assert up >= down


WORKLOAD = {"kind": "burst", "batch_size": 8, "input_tokens": INPUT, "output_tokens": 16}


def operations(model: Model, option: Option) -> Iterator[Operation]:
    """All operations of a decode and of a prefill step."""
    for step in (Step("decode", 8, 1, INPUT), Step("prefill", 4, INPUT, 0)):
        yield head_operation(model, option, step, "bf16")
        for layer in model.kinds.values():
            yield from layer_operations(model, layer, option, step, "bf16")


def test_the_floor_is_the_datasheet() -> None:
    device = device_of("h100-sxm")
    floor = Roofline(device)
    second = 10**12
    assert floor.picoseconds(Operation("x", "gemm", flops=int(device.peak_flops["fp8"]), dtype="fp8")) == second
    assert floor.picoseconds(Operation("x", "gemm", resident_bytes=int(device.memory_bandwidth))) == second
    assert floor.picoseconds(Operation("x", "gemm", moved_bytes=10**12)) == 0
    link = int(device.scale_up.bandwidth)
    reduced = Operation("x", "all_reduce", message_bytes=2 * link, link="scale_up", shape=Shape(ranks=2))
    assert floor.picoseconds(reduced) == second
    alone = Operation("x", "all_reduce", message_bytes=2 * link, link="scale_up", shape=Shape(ranks=1))
    assert floor.picoseconds(alone) == 0
