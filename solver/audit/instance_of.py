"""The instance that a document itself amounts to: its model, hardware and requirements sections."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from shardproof.instances.base import Record
from shardproof.instances.errors import ShardproofError
from shardproof.instances.hardware import Device, Link
from shardproof.instances.instance import Instance, InstanceFile
from shardproof.instances.model import Formats
from shardproof.instances.resolve import resolve
from shardproof.instances.speculative import Speculative
from shardproof.instances.workload import Burst
from shardproof.solver.audit.facts import Facts
from shardproof.solver.audit.guessed import told
from shardproof.solver.audit.readings import Reading

ASSUMED_SCALE_UP = 100_000_000_000
ASSUMED_SCALE_OUT = 25_000_000_000
ASSUMED_MFU = Fraction(1, 2)
WIDEST = 16384


class _Given(Record):
    """What a document gives about its device."""

    memory: int
    flops: int
    bandwidth: int


def instance_of(facts: Facts, readings: tuple[Reading, ...]) -> Instance | None:
    """Return the document's own instance; ``None`` where model, device or workload are not stated."""
    load = [facts.workload(name) for name in ("batch", "input_tokens", "output_tokens")]
    device = _device(facts, readings)
    if facts.model is None or device is None or any(value is None or value < 1 for value in load):
        return None
    model = facts.model
    changes: dict[str, Any] = {"kv_dtype": facts.kv_dtypes[0]}
    if facts.weight_dtype and facts.weight_dtype != _main_dtype(facts):
        changes["formats"] = Formats.uniform(facts.weight_dtype)  # type: ignore[arg-type]
        uniform = model.with_formats(changes["formats"])
        changes |= {"kinds": uniform.kinds, "predictors": uniform.predictors}
    batch, prompt, output = (int(value) for value in load if value is not None)
    limits = {name: facts.limit(f"{name}_limit") for name in ("ttft", "tpot")}
    try:
        file = InstanceFile(
            name="document",
            model=model.model_copy(update=changes),
            device=device,
            engine=facts.document.engine if facts.document.engine in ("vllm", "sglang", "trtllm") else "any",  # type: ignore[arg-type]
            workload=Burst(batch_size=batch, input_tokens=prompt, output_tokens=output),
            limits={name: int(value * 10**9) for name, value in limits.items() if value},  # type: ignore[arg-type]
            max_stage_gpus=WIDEST,
            speculative=_guessing(facts),
            assumptions=assumptions(facts),
        )
        return resolve(file, where="document")
    except (ShardproofError, ValueError):
        return None


def _guessing(facts: Facts) -> Speculative | None:
    """Speculative decoding as the document tells it, where it is understood."""
    return told(facts.document, facts.model, None).asked


def _main_dtype(facts: Facts) -> str:
    assert facts.model is not None
    formats = facts.model.formats
    return formats.experts.dtype if facts.moe else formats.attention.dtype


def _device(facts: Facts, readings: tuple[Reading, ...]) -> Device | None:
    memory, flops, bandwidth = facts.gpu_memory, facts.gpu_flops, facts.bandwidth
    if memory is None or flops is None or bandwidth is None or min(memory, flops, bandwidth) < 1:
        return None
    width = max((reading.option.gpus for reading in readings), default=8)
    node = facts.stated("gpus_per_node") or (facts.device.devices_per_node if facts.device else 8)
    if node % width and width % node:
        node = width
    known = facts.device
    dtype = known.compute_dtype(facts.weight_dtype or "bf16") if known else "bf16"
    peaks = {dtype: int(flops), "bf16": int(flops)}
    updates: dict[str, Any] = {
        "peak_flops": peaks,
        "memory": int(memory),
        "memory_bandwidth": int(bandwidth),
        "mfu": facts.mfu if facts.mfu and facts.mfu <= 1 else (known.mfu if known else ASSUMED_MFU),
        "devices_per_node": min(max(node, 1), WIDEST),
    }
    if known is not None:
        return known.model_copy(update=updates)
    return Device(
        name="document",
        source="the document",
        scale_up=Link(bandwidth=ASSUMED_SCALE_UP),
        scale_out=Link(bandwidth=ASSUMED_SCALE_OUT),
        **updates,
    )


def assumptions(facts: Facts) -> tuple[str, ...]:
    """Sentences for what the document leaves open and the audit had to assume."""
    found = []
    if facts.device is None:
        found.append(
            f"links between GPUs: {ASSUMED_SCALE_UP / 1e9:g} GB/s inside a node, "
            f"{ASSUMED_SCALE_OUT / 1e9:g} GB/s across"
        )
    if facts.document.first("kv_precision") is None:
        found.append(f"KV cache in {facts.kv_dtypes[0]}: the document does not say; claims under "
                     f"{' or '.join(facts.kv_dtypes)} are accepted")  # fmt: skip
    if facts.mfu is None:
        found.append("compute efficiency: the document does not say")
    if facts.document.first("microbatches", "microbatch_requests", "microbatch_tokens") is None:
        found.append("microbatch: the document does not say; the fastest one that fits is taken")
    return tuple(found)
