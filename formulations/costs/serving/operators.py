r"""Operators of one engine iteration, as the device's fitted curves time them, seconds by group.

The curves say what a kernel takes when it runs alone; the factors (`factors`) say what an engine makes of the
kernels of each group. A group's time never falls with tokens, sequences or context, since no curve does.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import ceil

from shardproof.formulations.costs.communication import layer_collectives
from shardproof.formulations.costs.compute import Step, head_operation, layer_operations
from shardproof.formulations.costs.flat import FlatClock
from shardproof.formulations.costs.operations import Clock, OperationKind
from shardproof.formulations.costs.serving.work import PLACE, Load, Terms, end_terms, layer_terms
from shardproof.instances.hardware import Device
from shardproof.instances.layers import Layer
from shardproof.instances.model import Model
from shardproof.instances.option import Option

ACTIVATIONS = "bf16"
GROUP_OF: dict[OperationKind, str] = {
    "gemm": "matrices",
    "grouped_gemm": "expert_matrices",
    "attention_prefill": "scores",
    "attention_decode": "scores",
    "linear_attention": "recurrence",
    "elementwise": "norms",
    "all_reduce": "reductions",
    "all_gather": "reductions",
    "p2p": "reductions",
    "all_to_all": "exchanges",
}
PICOSECOND = 1e-12


def clock_for(device: Device, engine: str) -> Clock:
    """Return the clock of a device's operators; where it has no curves, the datasheet at its flat shares."""
    return _clock(device.model_dump_json(), engine)


@lru_cache(maxsize=256)
def _clock(device_json: str, engine: str) -> Clock:
    from shardproof.formulations.costs.curves.clock import CalibratedClock, shared_tables
    from shardproof.instances.calibration import calibration_for

    device = Device.model_validate_json(device_json)
    found = calibration_for(device.name, device, engine=engine)
    flat = FlatClock(device)
    if found is None:
        return flat
    tables = shared_tables(device_json, device.name)
    return CalibratedClock(device, found[0], flat, engine=engine, tables=tables)


def step_of(option: Option, load: Load) -> Step:
    """Return an iteration as whole requests: sequences of the fullest attention replica on every replica."""
    if load.prefill:
        return Step("prefill", 1, max(1, round(load.tokens)), 0)
    tokens = max(1, round(load.tokens / load.sequences))
    return Step("decode", ceil(load.sequences) * option.attn_dp, tokens, max(1, round(load.context)))


def served_layer(model: Model, layer: Layer, device: Device, option: Option, load: Load, clock: Clock) -> Terms:
    """Work of one layer: datasheet terms, counts, and the time of its operators by group, seconds."""
    found, step = layer_terms(model, layer, device, option, load), step_of(option, load)
    for operation in layer_operations(model, layer, option, step, ACTIVATIONS):
        found[PLACE[GROUP_OF[operation.kind]]] += clock.picoseconds(operation)[1] * PICOSECOND
    collectives = layer_collectives(
        model, layer, option, step, dtype=ACTIVATIONS, devices_per_node=device.devices_per_node
    )
    for operation in collectives:
        found[PLACE[GROUP_OF[operation.kind]]] += clock.picoseconds(operation)[1] * PICOSECOND
    return found


def served_ends(model: Model, device: Device, option: Option, load: Load, clock: Clock) -> Terms:
    """Work of head and sampler: datasheet terms, counts, and the time of the head, seconds."""
    found = end_terms(model, device, option, load)
    head = head_operation(model, option, step_of(option, load), ACTIVATIONS)
    found[PLACE["matrices"]] += clock.picoseconds(head)[1] * PICOSECOND
    return found


def served_iteration(model: Model, device: Device, option: Option, load: Load, clock: Clock) -> Terms:
    """Work of a whole iteration through all layers, seconds by term."""
    total = served_ends(model, device, option, load, clock)
    for kind, count in Counter(model.layer_kinds).items():
        for index, value in enumerate(served_layer(model, model.kinds[kind], device, option, load, clock)):
            total[index] += count * value
    return total
