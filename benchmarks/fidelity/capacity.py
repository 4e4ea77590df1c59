r"""How many sequences run at once: what the KV cache holds; the rest wait and do not slow the batch.

.. math:: n = \frac{u M - W - r}{\kappa(T)}

======  ==============================  ======  =========================================================
symbol  code                            unit    source
======  ==============================  ======  =========================================================
M, u    `Device.usable_memory`, `USED`  bytes   what a process sees, and the share that engines take of it
W       weights of the fullest stage    bytes   `shardproof.formulations.costs.memory`
r       `RESERVE_BYTES`                 bytes   activations, communication buffers, graphs
kappa   `cache_bytes`                   bytes   one request of T tokens on one device, all layers of a stage
======  ==============================  ======  =========================================================

T is the length half-way through the answer: engines admit by what a request holds now, not by what it may. An engine
that is told nothing else has a limit of its own besides: vLLM runs 256 sequences, 1,024 on devices of 70 GiB or more,
A100 excepted (`EngineArgs` of vLLM, defaults by usage context and device memory).
"""

from __future__ import annotations

from collections import Counter
from math import inf

from shardproof.formulations.costs.memory import embedding_bytes, head_bytes, kv_bytes_per_request, layer_weight_bytes
from shardproof.instances.hardware import Device
from shardproof.instances.model import Model
from shardproof.instances.option import Option

UNTOLD, UNTOLD_LARGE, LARGE_BYTES = 256, 1024, 70 * 2**30
USED = 0.95
RESERVE_BYTES = 1.5e9


def stage_weight_bytes(model: Model, option: Option, stages: int) -> float:
    """Weights on one device where the layers are split evenly over ``stages``, ends on one of them."""
    kinds = Counter(model.layer_kinds).items()
    layers = sum(count * layer_weight_bytes(model, model.kinds[kind], option) for kind, count in kinds)
    head = 0 if model.tied and stages == 1 else head_bytes(model, option)
    return layers / stages + embedding_bytes(model, option) + head


def cache_bytes(model: Model, option: Option, *, tokens: float, stages: int) -> float:
    """KV cache of one request of ``tokens`` on one device of an average stage."""
    kinds = Counter(model.layer_kinds).items()
    whole = sum(
        count * kv_bytes_per_request(model, model.kinds[kind], option, max(1, round(tokens))) for kind, count in kinds
    )
    return whole / stages


def most_running(model: Model, device: Device, option: Option, *, tokens: float, stages: int = 1) -> float:
    """Sequences that one attention replica decodes at once, at least one (the longest request waits for none)."""
    free = USED * float(device.usable_memory) - RESERVE_BYTES - stage_weight_bytes(model, option, stages)
    return max(1.0, free / max(1.0, cache_bytes(model, option, tokens=tokens, stages=stages)))


def untold_limit(device: Device, engine: str) -> float:
    """Sequences that an engine runs at once on one attention replica where nobody tells it how many."""
    if engine != "vllm":
        return inf
    large = float(device.usable_memory) >= LARGE_BYTES and device.architecture != "Ampere"
    return UNTOLD_LARGE if large else UNTOLD
