"""Operations: the pieces of work that a layer does on one device, as counts; and the clock that times them.

An operation says what it does (FLOPs, bytes moved, message bytes) and its shape; a `Clock` says how long
that takes on a device. The flat clock (`shardproof.formulations.costs.flat`) divides by peak times a stated efficiency;
the calibrated clock reads fitted curves by shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

OperationKind = Literal[
    "gemm",
    "grouped_gemm",
    "attention_prefill",
    "attention_decode",
    "linear_attention",
    "elementwise",
    "all_reduce",
    "all_gather",
    "all_to_all",
    "p2p",
]

LinkName = Literal["scale_up", "scale_out"]

PICOSECONDS = 10**12


@dataclass(frozen=True)
class Shape:
    """The sizes that a curve may depend on; zero where an operation has no such size.

    ``m, n, k``: rows (tokens), outputs and inputs of a GEMM (of one expert shard, for a grouped one).
    ``batch, query, context, heads, kv_heads, head_dim, window``: attention, heads of one device.
    ``experts, topk``: experts of the layer and experts per token of a grouped GEMM, whose ``m`` is the tokens of
    the whole stage, times the imbalance of the most loaded rank where expert loads are known.
    ``ranks``: devices of a collective. An exchange of tokens with the experts' ranks has ``m`` tokens of ``k`` elements
    on each device, ``experts`` and ``topk`` besides. ``dispatched``: each token goes to its experts' ranks alone.
    """

    m: int = 0
    n: int = 0
    k: int = 0
    batch: int = 0
    query: int = 0
    context: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    window: int = 0
    experts: int = 0
    topk: int = 0
    ranks: int = 0
    dispatched: bool = False


@dataclass(frozen=True)
class Operation:
    """One piece of work on one device.

    ``flops`` and ``moved_bytes`` (memory traffic) for arithmetic, of which ``resident_bytes`` (weights, KV cache,
    states) must come from memory whatever a cache holds; ``message_bytes`` (sent by the device over ``link``)
    for collectives. ``dtype`` is the compute dtype, ``kv_dtype`` that of the KV cache.
    """

    name: str
    kind: OperationKind
    flops: int = 0
    moved_bytes: int = 0
    resident_bytes: int = 0
    message_bytes: int = 0
    dtype: str = "bf16"
    kv_dtype: str = "bf16"
    link: LinkName | None = None
    shape: Shape = Shape()


class Clock(Protocol):
    """How long an operation takes on one device."""

    def picoseconds(self, operation: Operation) -> tuple[int, int]:
        """Return the duration rounded (down, up) to whole picoseconds."""
        ...


@runtime_checkable
class ManyClock(Clock, Protocol):
    """A clock that times an operation at many sizes at once."""

    def many(self, operation: Operation, count: int) -> list[int]:
        """Return the duration at each of ``count`` sizes (`formulations.costs.many`), picoseconds, rounded up."""
        ...

    def curves_of(self, operation: Operation) -> tuple[object, ...]:
        """Return the measurements that an operation is timed by: where they are the same, so are its times."""
        ...
