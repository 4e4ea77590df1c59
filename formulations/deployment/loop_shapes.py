"""Ways to run a closed loop: sequences of a decode microbatch, and tokens of an iteration that prefills beside it."""

from __future__ import annotations

from dataclasses import dataclass

from shardproof.formulations.costs.engine_memory import EngineAccount
from shardproof.formulations.engines.told import cut_at
from shardproof.instances.instance import Instance
from shardproof.instances.workload import ClosedLoop

LOOP_CHUNKS = (2048, 512)
"""Tokens of an iteration that a closed loop may run where they are fewer than the engine's default."""

_CHUNKS = 1 << 20
"""A choice's value is its sequences plus this many for every token of a chunk; microbatches have fewer sequences."""


@dataclass(frozen=True)
class LoopShape:
    """One way to run a closed loop: sequences of a microbatch, and tokens of an iteration (``None``: the default)."""

    size: int
    chunk: int | None = None

    @property
    def value(self) -> int:
        """The choice's value on its axis."""
        return self.size + (self.chunk or 0) * _CHUNKS


def loop_shape(value: int) -> LoopShape:
    """Return the shape of a choice's value."""
    chunk, size = divmod(value, _CHUNKS)
    return LoopShape(size, chunk or None)


def loop_shapes(
    instance: Instance, engine: EngineAccount | None, workload: ClosedLoop, sizes: tuple[int, ...]
) -> tuple[LoopShape, ...]:
    """Return the shapes with so many sequences: iterations of the engine's default first, then smaller ones.

    An iteration that the engine is told stands. Where requests come one by one, and where a pool prefills, the
    default stands too.
    """
    if engine is None or workload.phase != "both":
        return tuple(map(LoopShape, sizes))
    told = instance.engine_settings.max_num_batched_tokens
    offered = tuple(cut_at(instance, engine, chunk) for chunk in LOOP_CHUNKS)
    chunks: tuple[int | None, ...] = (None, *(chunk for chunk in offered if chunk is not None))
    if told is not None or workload.independent:
        chunks = (None if told is None else cut_at(instance, engine, told),)
    return tuple(LoopShape(size, chunk) for chunk in chunks for size in sizes)
