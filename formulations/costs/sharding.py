"""How a stage's option cuts matrices, heads, experts and tokens: the one home of every division."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np

from shardproof.instances.layers import (
    Attention,
    FeedForward,
    GroupedQueryAttention,
    LinearAttention,
    Matrix,
    MixtureOfExperts,
    TensorClass,
)
from shardproof.instances.model import BITS, TensorFormat
from shardproof.instances.option import Option


@lru_cache(maxsize=1024)
def attention_matrices(attention: Attention, hidden: int) -> tuple[Matrix, ...]:
    """Projections of an attention part; remembered, because every option asks again."""
    return attention.matrices(hidden)


@lru_cache(maxsize=1024)
def dense_matrices(feed_forward: FeedForward, hidden: int) -> tuple[Matrix, ...]:
    """Return the matrices that every token passes in a feed-forward part; remembered."""
    return feed_forward.matrices(hidden)


@lru_cache(maxsize=1024)
def expert_matrices(experts: MixtureOfExperts, hidden: int) -> tuple[Matrix, ...]:
    """Matrices of one routed expert; remembered."""
    return experts.expert_matrices(hidden)


@lru_cache(maxsize=1024)
def router_matrix(experts: MixtureOfExperts, hidden: int) -> Matrix:
    """Router of a layer; remembered."""
    return experts.router(hidden)


@lru_cache(maxsize=1024)
def vocabulary_matrix(vocab: int, hidden: int, tensor_class: TensorClass) -> Matrix:
    """Embedding table or LM head, cut by vocabulary; remembered."""
    return Matrix(name="vocabulary", inputs=hidden, outputs=vocab, tensor_class=tensor_class, shard="heads")


def divide_up(numerator: int, denominator: int) -> int:
    """Whole-number division, rounded up."""
    return -(-numerator // denominator)


@dataclass(frozen=True)
class Share:
    """One rank's part of a matrix: its dimensions after the cut."""

    inputs: int
    outputs: int
    vector: int

    @property
    def elements(self) -> int:
        """Elements that the rank holds."""
        return self.inputs * self.outputs + self.vector


def cut(matrix: Matrix, parts: int) -> Share:
    """Cut a matrix into equal parts along its cut dimension (rounded up)."""
    if matrix.cut == "inputs":
        return Share(divide_up(matrix.inputs, parts), matrix.outputs, matrix.vector)
    return Share(matrix.inputs, divide_up(matrix.outputs, parts), divide_up(matrix.vector, parts))


def attention_parts(matrix: Matrix, kv_heads: int, attn_tp: int) -> int:
    """Into how many parts attn_tp ranks cut a matrix outside the routed experts."""
    if matrix.shard == "none":
        return 1
    return min(attn_tp, kv_heads) if matrix.shard == "kv_heads" else attn_tp


def kv_heads_of(attention: object) -> int:
    """Heads that limit how far keys and values can be cut."""
    if isinstance(attention, GroupedQueryAttention):
        return attention.kv_heads
    if isinstance(attention, LinearAttention):
        return attention.key_heads
    return 1


def stored_bytes(share: Share, stored: TensorFormat) -> int:
    """Bytes of one rank's part of a matrix, quantisation scales included; biases keep 16 bits at least."""
    total = divide_up(share.inputs * share.outputs * stored.bits + share.vector * max(16, stored.bits), 8)
    if stored.block is not None:
        rows, columns = stored.block
        blocks = divide_up(share.outputs, rows) * divide_up(share.inputs, columns)
        total += divide_up(blocks * stored.scale_bits, 8)
    return total


def element_bytes(count: int, dtype: str) -> int:
    """Bytes of ``count`` elements."""
    return divide_up(count * BITS[dtype], 8)


def slots_per_rank(experts: MixtureOfExperts, option: Option) -> int:
    """Experts that one rank holds: all of them over moe_ep ranks, rounded up, and the option's extra slots."""
    return divide_up(experts.experts, option.moe_ep) + option.extra_slots


def dispatched(experts: MixtureOfExperts, option: Option, *, decode: bool) -> bool:
    """Tell whether decode sends each token to the ranks of its experts alone, and ranks multiply what came to them.

    Engines do so where attention replicas hold different tokens and there are more ranks than experts a token:
    otherwise nearly every rank needs every token, and a fused kernel over all of them runs.
    """
    return decode and option.attn_dp > 1 and option.moe_ep > experts.topk


_SCALE = 1 << 60


def touched_experts_ppm(experts: int, topk: int, tokens: int) -> int:
    """Expected share (parts per million, rounded up) of experts that ``tokens`` tokens touch.

    With equal loads each token picks ``topk`` of ``experts``: one expert stays untouched with probability
    (1 - topk / experts) ** tokens. Fixed-point arithmetic, the same on every machine.
    """
    if isinstance(tokens, np.ndarray):  # many counts at once (`many`)
        return cast(int, np.array([touched_experts_ppm(experts, topk, one) for one in tokens], dtype=object))
    return _touched_ppm(experts, topk, tokens)


@lru_cache(maxsize=4096)
def _touched_ppm(experts: int, topk: int, tokens: int) -> int:
    untouched, factor, exponent = _SCALE, _SCALE * max(0, experts - topk) // experts, tokens
    while exponent and untouched:
        if exponent & 1:
            untouched = untouched * factor // _SCALE
        factor = factor * factor // _SCALE
        exponent >>= 1
    return divide_up((_SCALE - untouched) * 10**6, _SCALE)
