"""work: what each family of operations does (FLOPs, bytes) and where it lies (coordinates), from its sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shardproof.formulations.costs.curves.precision import Precision
from shardproof.formulations.costs.curves.sizes import Array, Sizes


@dataclass(frozen=True)
class Work:
    """FLOPs, bytes of memory and of the link, and the family's own terms (any unit; their factors are fitted)."""

    flops: Array
    memory_bytes: Array
    link_bytes: Array
    own: tuple[Array, ...] = ()


WIDEST_GROUP = 32
"""Query heads a KV head that kernels of every engine share one reading of the cache for; some read anew for more."""
SCALED_BLOCK = 128
"""Inputs that share a scale in block-scaled formats."""
CACHE_BYTES = 64e6
"""What a device's own cache holds of small tensors, so that a benchmark that repeats itself never reads them anew."""


def _log(values: Array) -> Array:
    return np.asarray(np.log2(np.maximum(values, 2.0**-10)))


def _columns(*values: Array) -> Array:
    return np.stack(np.broadcast_arrays(*values), axis=1)


def gemm_work(s: Sizes, p: Precision) -> Work:
    """Multiply m x k by k x n; own terms: depth, outputs, inputs (quantised on the way in), and rows that are padded.

    Kernels of block-scaled operands copy the scales where rows are no multiple of four and there are several blocks.
    """
    padded = np.where(s.k > SCALED_BLOCK, s.ragged, 0)
    moved = s.n * s.k * p.weight + s.m * s.k * p.activation + 2 * s.m * s.n
    return Work(2 * s.m * s.n * s.k, moved, 0 * s.m, (s.k / 1000, s.m * s.n / 1e6, s.m * s.k / 1e7, padded))


def gemm_coordinates(s: Sizes) -> Array:
    """Rows, outputs and inputs."""
    return _columns(_log(s.m), _log(s.n), _log(s.k))


def elementwise_work(s: Sizes, _p: Precision) -> Work:
    """Read and write m x n elements of 16 bits."""
    return Work(0 * s.m, 4 * s.m * s.n, 0 * s.m)


def elementwise_coordinates(s: Sizes) -> Array:
    """Rows and width."""
    return _columns(_log(s.m), _log(s.n))


def _seen(s: Sizes, length: Array) -> Array:
    return np.where(s.window > 0, np.minimum(s.window, length), length)


def prefill_work(s: Sizes, _p: Precision) -> Work:
    """Causal attention over a prompt; own terms: the longest block, number of blocks, elements of queries."""
    seen = _seen(s, s.query)
    pairs = np.where(seen < s.query, seen * seen / 2 + (s.query - seen) * seen, s.query * s.query / 2)
    flops = 4 * s.batch * s.heads * s.head_dim * (pairs + 64 * s.query)
    moved = 4 * s.batch * s.query * s.head_dim * (s.heads + s.kv_heads)
    longest = s.query * s.head_dim / 128000
    tiles = s.batch * s.heads * np.ceil(s.query / 64) / 1000
    rows = s.batch * s.query * s.heads * s.head_dim / 1e7
    return Work(flops, moved, 0 * flops, (longest, tiles, rows))


def prefill_coordinates(s: Sizes) -> Array:
    """Batch x heads, prompt, queries a KV head, head size, share that the window leaves, batch."""
    narrow = _log(s.query / _seen(s, s.query))
    return _columns(
        _log(s.batch * s.heads), _log(s.query), _log(s.heads / s.kv_heads), _log(s.head_dim), narrow, _log(s.batch)
    )


def decode_work(s: Sizes, p: Precision) -> Work:
    """One query a sequence against its cache.

    Own terms: blocks beyond 64, tokens seen, steps of the reduction; query heads that share no reading of the cache,
    and what they read; bytes that the device's own cache does not hold.
    """
    seen = _seen(s, s.context)
    flops = 4 * s.batch * s.heads * s.head_dim * seen
    readings = s.kv_heads * np.ceil(s.heads / s.kv_heads / 64)
    moved = 2 * s.batch * s.head_dim * (readings * seen * p.cache + 2 * s.heads)
    blocks = np.maximum(s.batch * s.kv_heads - 64, 0) / 100
    apart = np.where(s.heads > WIDEST_GROUP * s.kv_heads, s.batch * s.heads, 0)
    uncached = np.maximum(moved - CACHE_BYTES, 0) / 1e8
    alone = (apart / 1000, apart * seen * s.head_dim / 1e8)
    return Work(flops, moved, 0 * flops, (blocks, seen / 10000, np.log2(seen + 1), *alone, uncached))


def decode_coordinates(s: Sizes) -> Array:
    """Batch, tokens seen, KV heads, queries a KV head, head size, share that the window leaves."""
    seen = _seen(s, s.context)
    narrow = _log(s.context / seen)
    return _columns(_log(s.batch), _log(seen), _log(s.kv_heads), _log(s.heads / s.kv_heads), _log(s.head_dim), narrow)


def latent_prefill_work(s: Sizes, _p: Precision) -> Work:
    """Latent attention over a prompt, keys and values expanded (192 + 128 a head)."""
    flops = 2 * s.batch * s.heads * 320 * (s.query * s.query / 2 + 64 * s.query)
    return Work(flops, 2 * s.batch * s.query * s.heads * 640, 0 * flops, (s.query / 1000, s.batch * s.heads / 1000))


def latent_prefill_coordinates(s: Sizes) -> Array:
    """Batch, prompt and heads."""
    return _columns(_log(s.batch), _log(s.query), _log(s.heads))


def latent_decode_work(s: Sizes, p: Precision) -> Work:
    """Latent attention on the compressed cache (576 a token), weights absorbed."""
    flops = 2 * s.batch * s.heads * s.context * 1088
    moved = s.batch * (s.context * 576 * p.cache + s.heads * 2176)
    return Work(flops, moved, 0 * flops, (s.batch / 100, s.context / 10000))


def with_projections(attention: Callable[[Sizes, Precision], Work]) -> Callable[[Sizes, Precision], Work]:
    """Add the projections around latent attention, at the ranks that measured modules have."""

    def work(s: Sizes, p: Precision) -> Work:
        inner = attention(s, p)
        weights = 7168 * 2112 + s.heads * (1536 * 192 + 512 * 256 + 128 * 7168)
        rows = s.batch * np.maximum(s.query, 1)
        moved = inner.memory_bytes + weights * 1.5 + rows * (7168 + s.heads * 500) * 4
        return Work(inner.flops + 2 * rows * weights, moved, inner.link_bytes, inner.own)

    return work


def latent_decode_coordinates(s: Sizes) -> Array:
    """Batch, context and heads."""
    return _columns(_log(s.batch), _log(s.context), _log(s.heads))


def _expert_loads(s: Sizes) -> tuple[Array, Array, Array]:
    """Return experts a rank, (token, expert) pairs a rank, and experts that those pairs touch."""
    local = np.maximum(s.experts / s.ep, 1)
    pairs = s.tokens * s.topk / s.ep
    spread = local * (1 - np.exp(-0.7 * pairs / local))
    touched = np.where(s.skew > 0, spread, np.minimum(local, pairs))
    return local, pairs, np.maximum(touched, np.minimum(1, pairs))


def experts_work(s: Sizes, p: Precision) -> Work:
    """Gate, up and down of the experts of the slowest rank; own terms: routing by tokens, touched experts, copies."""
    _, pairs, touched = _expert_loads(s)
    inter = s.inter / s.tp
    moved = touched * 3 * s.hidden * inter * p.weight + pairs * (4 * s.hidden + 6 * inter)
    slowest = np.where(s.skew > 0, np.sqrt(np.minimum(s.ep, 4)), 1)
    return Work(
        6 * pairs * slowest * s.hidden * inter,
        moved,
        0 * pairs,
        (s.tokens / 1000, touched / 100, s.tokens * s.topk / 1e4),
    )


def masked_experts_work(s: Sizes, p: Precision) -> Work:
    """Work of the slowest rank of expert-parallel decode: its experts' weights, its pairs; own term: copies of pairs.

    Of skewed loads the slowest rank gets more pairs than the mean, the more the more ranks there are, and no more
    than every token's; the exponents are fitted on 2 to 128 ranks.
    """
    local, pairs, _ = _expert_loads(s)
    slowest = np.minimum(pairs * s.ep ** (0.43 * s.skew), s.tokens * np.minimum(local, s.topk))
    spread = local * (1 - np.exp(-np.cbrt(s.ep) * 2.0**-s.skew * pairs / local))
    touched = np.maximum(np.where(s.skew > 0, spread, np.minimum(local, pairs)), np.minimum(1, pairs))
    inter = s.inter / s.tp
    moved = touched * 3 * s.hidden * inter * p.weight + slowest * (4 * s.hidden + 6 * inter)
    return Work(6 * slowest * s.hidden * inter, moved, 0 * pairs, (slowest / 1000,))


def experts_coordinates(s: Sizes) -> Array:
    """Tokens, pairs an expert, experts a rank, hidden, intermediate size, ranks, skew of the load."""
    local, pairs, _ = _expert_loads(s)
    return _columns(
        _log(s.tokens),
        _log(pairs / local),
        _log(local),
        _log(s.hidden),
        _log(s.inter / s.tp),
        _log(s.ep),
        s.skew + 0.3 * s.balanced,
    )


def exchanged(share: Callable[[Array], Array]) -> Callable[[Sizes, Precision], Work]:
    """Return the work of a collective that sends a share of the message, by ranks."""

    def work(s: Sizes, _p: Precision) -> Work:
        link_bytes = share(s.ranks) * s.message_bytes
        return Work(0 * link_bytes, 0 * link_bytes, link_bytes, (s.ranks,))

    return work


def message_coordinates(s: Sizes) -> Array:
    """Message bytes and ranks."""
    return _columns(_log(s.message_bytes), _log(s.ranks))


def routing_work(s: Sizes, _p: Precision) -> Work:
    """Send each token to its experts' ranks, or bring the results back."""
    link_bytes = s.tokens * np.minimum(s.topk, s.ranks) * s.hidden * 2
    return Work(0 * link_bytes, 0 * link_bytes, link_bytes, (s.ranks,))


def routing_coordinates(s: Sizes) -> Array:
    """Tokens, hidden, experts a token, experts, ranks and multiprocessors lent to the exchange."""
    return _columns(
        _log(s.tokens),
        _log(s.hidden),
        _log(s.topk),
        _log(s.experts),
        _log(s.ranks),
        _log(np.maximum(s.multiprocessors, 1)),
    )


def recurrence_work(s: Sizes, _p: Precision) -> Work:
    """Linear attention: a state of head size squared, read, updated and written."""
    rows = s.batch * s.query
    flops = 8 * rows * s.heads * s.head_dim * s.head_dim
    moved = 8 * s.batch * s.heads * s.head_dim * s.head_dim + 4 * rows * (s.heads + s.kv_heads) * s.head_dim
    return Work(flops, moved, 0 * flops, (s.query / 1000,))


def recurrence_coordinates(s: Sizes) -> Array:
    """Batch, tokens, heads and KV heads."""
    return _columns(_log(s.batch), _log(s.query), _log(s.heads), _log(s.kv_heads))
