"""Layers of a transformer: attention and feed-forward kinds, and the matrices they hold.

A layer is an attention part and a feed-forward part. Every part lists its `Matrix` records; weights,
FLOPs and parameter counts all follow from those lists, so no formula for them stands anywhere else.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.compressed import CompressedAttention
from shardproof.instances.formats import Formats, TensorClass
from shardproof.instances.matrices import Matrix, Shard, ffn_matrices

__all__ = [
    "Attention",
    "CompressedAttention",
    "DenseFeedForward",
    "FeedForward",
    "GroupedQueryAttention",
    "LatentAttention",
    "Layer",
    "LinearAttention",
    "Matrix",
    "MixtureOfExperts",
    "NoAttention",
    "NoFeedForward",
    "Shard",
    "TensorClass",
    "ffn_matrices",
]


class GroupedQueryAttention(Record):
    """Multi-head attention whose query heads share ``kv_heads`` keys and values.

    ``window`` is the sliding window in tokens (``None``: the whole context); ``chunked``: attention ends at
    multiples of it instead (Llama 4). ``output_gate`` doubles
    the query projection (Qwen3-Next, Qwen3.5). ``key_is_value`` drops the value projection (Gemma 4
    global layers). ``value_dim``: width of a value where it is not that of a key (MiMo-V2; caches keep both as
    wide as keys). ``head_gate``: one gate a head (Step 3.5). ``index_heads`` x ``index_head_dim``: an indexer that
    selects blocks of tokens, ``selected_tokens`` for each query, copied to every rank (MiniMax M3).
    ``norm_parameters`` counts q/k norms, sinks and other vectors.
    """

    kind: Literal["gqa"] = "gqa"
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    window: int | None = Field(default=None, gt=0)
    chunked: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    output_gate: bool = False
    key_is_value: bool = False
    value_dim: int | None = Field(default=None, gt=0)
    head_gate: bool = False
    selected_tokens: int | None = Field(default=None, gt=0)
    index_heads: int = Field(default=0, ge=0)
    index_head_dim: int = Field(default=0, ge=0)
    norm_parameters: int = Field(default=0, ge=0)

    @property
    def span(self) -> int | None:
        """Tokens that a query attends to at most: its window, or what an indexer selects (``None``: all)."""
        return self.window if self.selected_tokens is None else self.selected_tokens

    @property
    def index_bytes_per_token(self) -> int:
        """Bytes that the indexer caches for one token: one 16-bit key."""
        return 2 * self.index_head_dim if self.index_heads else 0

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Projections of one layer."""
        query = self.heads * self.head_dim
        key = self.kv_heads * self.head_dim
        value = self.value_dim or self.head_dim
        wide = 2 * query if self.output_gate else query
        values = () if self.key_is_value else (self._projection("value", hidden, self.kv_heads * value, "kv_heads"),)
        return (
            self._projection("query", hidden, wide, "heads"),
            self._projection("key", hidden, key, "kv_heads"),
            *values,
            Matrix(
                name="output",
                inputs=self.heads * value,
                outputs=hidden,
                tensor_class="attention",
                shard="heads",
                cut="inputs",
                vector=hidden if self.output_bias else 0,
            ),
            *self._more(hidden),
        )

    def _more(self, hidden: int) -> tuple[Matrix, ...]:
        gate = (("head_gate", self.heads, "heads"),) if self.head_gate else ()
        wide = self.index_heads * self.index_head_dim
        index = (("index_query", wide, "none"), ("index_key", self.index_head_dim, "none")) if wide else ()
        return tuple(
            Matrix(name=name, inputs=hidden, outputs=outputs, tensor_class="attention", shard=shard)
            for name, outputs, shard in (*gate, *index)
        )

    def _projection(self, name: str, inputs: int, outputs: int, shard: Shard) -> Matrix:
        vector = outputs if self.qkv_bias else 0
        return Matrix(name=name, inputs=inputs, outputs=outputs, tensor_class="attention", shard=shard, vector=vector)


class LatentAttention(Record):
    """Multi-head latent attention (DeepSeek-V2/V3): keys and values from one compressed vector.

    ``selected_tokens``: how many earlier tokens a query attends to, where an indexer selects them (DeepSeek
    Sparse Attention; ``None``: all). ``index_heads`` x ``index_head_dim`` is this layer's indexer, copied to
    every rank; zero heads: there is none, or another layer's selection is used. ``output_gate``: a gate as wide as
    the values (Kimi K3).
    """

    kind: Literal["mla"] = "mla"
    heads: int = Field(gt=0)
    q_lora_rank: int | None = Field(default=None, gt=0)
    kv_lora_rank: int = Field(gt=0)
    qk_nope_head_dim: int = Field(gt=0)
    qk_rope_head_dim: int = Field(gt=0)
    v_head_dim: int = Field(gt=0)
    selected_tokens: int | None = Field(default=None, gt=0)
    index_heads: int = Field(default=0, ge=0)
    index_head_dim: int = Field(default=0, ge=0)
    output_gate: bool = False
    norm_parameters: int = Field(default=0, ge=0)

    @property
    def index_bytes_per_token(self) -> int:
        """Bytes that the indexer caches for one token: an 8-bit key, and a 32-bit scale for each 128 elements."""
        return self.index_head_dim + 4 * -(-self.index_head_dim // 128) if self.index_heads else 0

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Projections of one layer."""
        head = self.qk_nope_head_dim + self.qk_rope_head_dim
        if self.q_lora_rank is None:
            queries: tuple[Matrix, ...] = (self._matrix("query", hidden, self.heads * head, "heads"),)
        else:
            queries = (
                self._matrix("query_down", hidden, self.q_lora_rank, "none"),
                self._matrix("query_up", self.q_lora_rank, self.heads * head, "heads"),
            )
        expanded = self.heads * (self.qk_nope_head_dim + self.v_head_dim)
        return (
            *queries,
            self._matrix("kv_down", hidden, self.kv_lora_rank + self.qk_rope_head_dim, "none"),
            self._matrix("kv_up", self.kv_lora_rank, expanded, "heads"),
            self._matrix("output", self.heads * self.v_head_dim, hidden, "heads", cut="inputs"),
            *((self._matrix("gate", hidden, self.heads * self.v_head_dim, "heads"),) if self.output_gate else ()),
            *self._index_matrices(hidden),
        )

    def _index_matrices(self, hidden: int) -> tuple[Matrix, ...]:
        if not self.index_heads:
            return ()
        inputs = hidden if self.q_lora_rank is None else self.q_lora_rank
        weights = self._matrix("index_weights", hidden, self.index_heads, "none")
        return (
            self._matrix("index_query", inputs, self.index_heads * self.index_head_dim, "none"),
            self._matrix("index_key", hidden, self.index_head_dim, "none"),
            weights.model_copy(update={"tensor_class": "norms"}),
        )

    def _matrix(
        self, name: str, inputs: int, outputs: int, shard: Shard, *, cut: Literal["inputs", "outputs"] = "outputs"
    ) -> Matrix:
        return Matrix(name=name, inputs=inputs, outputs=outputs, tensor_class="attention", shard=shard, cut=cut)


class LinearAttention(Record):
    """Linear attention with a recurrent state (Gated DeltaNet, Mamba-2): no KV cache.

    ``state_bytes_per_sequence`` is the recurrent state of one layer for one sequence, all heads.
    """

    kind: Literal["linear"] = "linear"
    heads: int = Field(gt=0)
    key_heads: int = Field(gt=0)
    key_dim: int = Field(gt=0)
    value_dim: int = Field(gt=0)
    conv_kernel: int = Field(default=4, ge=1)
    projections: tuple[Matrix, ...]
    norm_parameters: int = Field(default=0, ge=0)
    state_bytes_per_sequence: int = Field(ge=0)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Projections of one layer."""
        del hidden
        return self.projections


class NoAttention(Record):
    """A layer without attention (the MLP layers of Nemotron hybrids)."""

    kind: Literal["none"] = "none"
    norm_parameters: int = Field(default=0, ge=0)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """No projections."""
        del hidden
        return ()


Attention = Annotated[
    GroupedQueryAttention | LatentAttention | CompressedAttention | LinearAttention | NoAttention,
    Field(discriminator="kind"),
]


class DenseFeedForward(Record):
    """A dense feed-forward part: gate, up and down (``gated``) or up and down."""

    kind: Literal["dense"] = "dense"
    intermediate: int = Field(ge=0)
    gated: bool = True
    bias: bool = False

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Matrices of one layer."""
        return ffn_matrices(hidden, self.intermediate, gated=self.gated, bias=self.bias, tensor_class="dense_ffn")


class MixtureOfExperts(Record):
    """A mixture-of-experts part: ``experts`` of which ``topk`` see each token, plus shared experts.

    ``shared_intermediate`` is the width of all shared experts together; ``dense_intermediate`` that
    of a dense branch beside the experts (Gemma 4). ``latent_size`` is the width in which the experts work
    where the model projects down to it and back (Nemotron 3 Super). ``router_parameters`` counts what the
    router holds beyond its ``hidden x experts`` matrix (score bias, shared-expert gate).
    """

    kind: Literal["moe"] = "moe"
    experts: int = Field(gt=0)
    topk: int = Field(gt=0)
    intermediate: int = Field(gt=0)
    shared_intermediate: int = Field(default=0, ge=0)
    dense_intermediate: int = Field(default=0, ge=0)
    gated: bool = True
    expert_bias: bool = False
    router_parameters: int = Field(default=0, ge=0)
    latent_size: int | None = Field(default=None, gt=0)

    def expert_matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Matrices of one routed expert."""
        width = self.latent_size or hidden
        return ffn_matrices(width, self.intermediate, gated=self.gated, bias=self.expert_bias, tensor_class="experts")

    def router(self, hidden: int) -> Matrix:
        """Return the router."""
        return Matrix(
            name="router",
            inputs=hidden,
            outputs=self.experts,
            tensor_class="router",
            shard="none",
            vector=self.router_parameters,
        )

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return what every token passes: shared experts and the dense branch, not the routed experts."""
        branches = (("shared", self.shared_intermediate), ("dense", self.dense_intermediate))
        parts = tuple(
            matrix.model_copy(update={"name": f"{branch}_{matrix.name}"})
            for branch, width in branches
            if width
            for matrix in ffn_matrices(hidden, width, gated=self.gated, bias=False, tensor_class="dense_ffn")
        )
        return (*self._latent_matrices(hidden), *parts)

    def _latent_matrices(self, hidden: int) -> tuple[Matrix, ...]:
        if self.latent_size is None:
            return ()
        shapes = (("latent_down", hidden, self.latent_size), ("latent_up", self.latent_size, hidden))
        return tuple(
            Matrix(name=name, inputs=inputs, outputs=outputs, tensor_class="dense_ffn", shard="none")
            for name, inputs, outputs in shapes
        )


class NoFeedForward(Record):
    """A layer without feed-forward part (the Mamba and attention layers of Nemotron hybrids)."""

    kind: Literal["none"] = "none"

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """No matrices."""
        del hidden
        return ()


FeedForward = Annotated[DenseFeedForward | MixtureOfExperts | NoFeedForward, Field(discriminator="kind")]


class Layer(Record):
    """One layer: attention, feed-forward, and the elements of its norms (input, post, sandwich).

    ``formats``: how this layer is stored, where that differs from the model's formats.
    """

    attention: Attention
    feed_forward: FeedForward
    norm_parameters: int = Field(ge=0)
    formats: Formats | None = None
