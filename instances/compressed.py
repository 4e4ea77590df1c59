"""Attention over compressed entries: one vector for several tokens, and a window of single ones (DeepSeek-V4)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.matrices import Matrix, Shard

SCALED = 64
"""Elements of a cached vector that share one 8-bit scale."""


class CompressedAttention(Record):
    """Every head reads the same vectors of ``head_dim``: those of the last ``window`` tokens, and compressed ones.

    ``ratio`` tokens become one entry (0: the window is all there is); ``overlap``: an entry sees the tokens of two.
    ``selected_entries``: how many entries a query attends to, where an indexer of ``index_heads`` x
    ``index_head_dim`` selects them (``None``: all). The output goes through ``output_groups`` blocks of
    ``output_rank``. Sources: vLLM models/deepseek_v4/attention.py and compressor.py; SGLang models/deepseek_v4.py.
    """

    kind: Literal["compressed"] = "compressed"
    heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    rope_head_dim: int = Field(ge=0)
    q_lora_rank: int = Field(gt=0)
    output_groups: int = Field(gt=0)
    output_rank: int = Field(gt=0)
    window: int = Field(gt=0)
    ratio: int = Field(default=0, ge=0)
    overlap: bool = False
    selected_entries: int | None = Field(default=None, gt=0)
    index_heads: int = Field(default=0, ge=0)
    index_head_dim: int = Field(default=0, ge=0)
    norm_parameters: int = Field(default=0, ge=0)

    def entry_bytes(self, dtype: str) -> int:
        """Bytes of one cached vector: 8 bits with scales and a rotary part of 16, or 16 bits throughout."""
        if dtype != "fp8":
            return 2 * self.head_dim
        plain = self.head_dim - self.rope_head_dim
        return plain + 2 * self.rope_head_dim + -(-plain // SCALED) + 1

    @property
    def index_entry_bytes(self) -> int:
        """Bytes that the indexer caches for an entry: 8-bit keys and a 32-bit scale."""
        return self.index_head_dim + 4 if self.index_heads else 0

    @property
    def state_rows(self) -> int:
        """Tokens whose parts a compressor keeps until their entry is whole."""
        return (2 if self.overlap else 1) * self.ratio

    @property
    def state_row_bytes(self) -> int:
        """Bytes of one such token: values and scores, 32 bits each, of the compressor."""
        return 8 * (2 if self.overlap else 1) * self.head_dim if self.ratio else 0

    @property
    def index_state_row_bytes(self) -> int:
        """The same of the indexer's own compressor."""
        return 8 * (2 if self.overlap else 1) * self.index_head_dim if self.index_heads else 0

    def entries(self, tokens: int) -> int:
        """Compressed entries of ``tokens`` tokens, rounded up."""
        return -(-tokens // self.ratio) if self.ratio else 0

    def attended(self, tokens: int) -> int:
        """Vectors that a query after ``tokens`` tokens attends to."""
        entries = self.entries(tokens)
        chosen = entries if self.selected_entries is None else min(entries, self.selected_entries)
        return min(tokens, self.window) + chosen

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Projections of one layer; compressors stay in high precision, as norms do."""
        wide = self.heads * self.head_dim
        return (
            _matrix("query_down", hidden, self.q_lora_rank, "none"),
            _matrix("query_up", self.q_lora_rank, wide, "heads"),
            _matrix("kv_down", hidden, self.head_dim, "none"),
            _matrix("output_down", wide // self.output_groups, self.output_groups * self.output_rank, "heads"),
            _matrix("output_up", self.output_groups * self.output_rank, hidden, "heads", cut="inputs"),
            *self._compressors(hidden),
        )

    def _compressors(self, hidden: int) -> tuple[Matrix, ...]:
        if not self.ratio:
            return ()
        twice = 2 * (2 if self.overlap else 1)
        found = [_whole("compressor", hidden, twice * self.head_dim)]
        if self.index_heads:
            found += [
                _whole("index_compressor", hidden, twice * self.index_head_dim),
                _whole("index_weights", hidden, self.index_heads),
                _matrix("index_query", self.q_lora_rank, self.index_heads * self.index_head_dim, "none"),
            ]
        return tuple(found)


def _matrix(
    name: str, inputs: int, outputs: int, shard: Shard, *, cut: Literal["inputs", "outputs"] = "outputs"
) -> Matrix:
    return Matrix(name=name, inputs=inputs, outputs=outputs, tensor_class="attention", shard=shard, cut=cut)


def _whole(name: str, inputs: int, outputs: int) -> Matrix:
    return Matrix(name=name, inputs=inputs, outputs=outputs, tensor_class="norms", shard="none")
