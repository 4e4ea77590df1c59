"""What one rank holds of each quantised matrix: where the blocks and groups of a checkpoint would be cut through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shardproof.formulations.costs.sharding import (
    attention_matrices,
    attention_parts,
    dense_matrices,
    expert_matrices,
    kv_heads_of,
)
from shardproof.instances.formats import TensorFormat
from shardproof.instances.layers import Layer, MixtureOfExperts
from shardproof.instances.matrices import Matrix
from shardproof.instances.model import Model
from shardproof.instances.option import Option

PACKED = 8
"""Columns of 4-bit integers in one 32-bit word: what AWQ and GPTQ files pack along the outputs."""

SMALLEST_GROUP = 32
"""Groups of expert weights are halved until they fit a shard, down to this size."""

MERGED = frozenset({"query", "key", "value", "gate", "up"})
"""Matrices that become one with their neighbours: the projections of attention, both inputs of a gated part."""

PADDED = frozenset({"mxfp4"})
"""Formats whose shards engines pad to whole blocks."""


@dataclass(frozen=True)
class Shard:
    """One matrix as one of ``ranks`` ranks holds it, and how it is stored; widths before and after the cut."""

    matrix: Matrix
    stored: TensorFormat
    ranks: int

    @property
    def cut_width(self) -> int:
        """Width of the dimension that is cut."""
        return self.matrix.inputs if self.matrix.cut == "inputs" else self.matrix.outputs

    @property
    def granule(self) -> int:
        """Elements along the cut dimension that must stay together."""
        stored = self.stored
        if stored.block is None or stored.dtype in PADDED:
            return 1
        rows, columns = stored.block
        if self.matrix.cut == "outputs":
            packed = PACKED if stored.dtype == "int4" else 1
            return max(rows, packed)
        if self.matrix.tensor_class == "experts" and stored.dtype in ("int4", "int8"):
            return min(columns, SMALLEST_GROUP)
        return columns

    @property
    def merged(self) -> bool:
        """Whether engines load the matrix as a part of a merged projection that is cut along its outputs."""
        matrix = self.matrix
        return matrix.cut == "outputs" and matrix.name in MERGED and matrix.tensor_class != "experts"

    @property
    def whole(self) -> bool:
        """Whether the rank's part is cut at the borders of blocks or groups."""
        if self.ranks == 1 or not self.cut_width:
            return True
        return self.cut_width % (self.ranks * self.granule) == 0


def quantised_shards(model: Model, option: Option) -> Iterator[Shard]:
    """Yield every matrix that is stored in blocks or groups and cut over ranks."""
    for layer in model.kinds.values():
        formats = layer.formats or model.formats
        for matrix, ranks in _cut_matrices(layer, model.hidden, option):
            stored = formats.of_matrix(matrix.tensor_class, matrix.name)
            if stored.block is not None and ranks > 1:
                yield Shard(matrix, stored, ranks)


def _cut_matrices(layer: Layer, hidden: int, option: Option) -> Iterator[tuple[Matrix, int]]:
    attention = layer.attention
    kv_heads = kv_heads_of(attention)
    for matrix in attention_matrices(attention, hidden):
        yield matrix, attention_parts(matrix, kv_heads, option.attn_tp)
    for matrix in dense_matrices(layer.feed_forward, hidden):
        yield matrix, attention_parts(matrix, kv_heads, option.attn_tp)
    if isinstance(layer.feed_forward, MixtureOfExperts):
        for matrix in expert_matrices(layer.feed_forward, hidden):
            yield matrix, option.moe_tp
