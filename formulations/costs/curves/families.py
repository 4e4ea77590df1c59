r"""families: which sizes the time of each kind of operation depends on.

A family turns `Sizes` into work (FLOPs, memory bytes, link bytes and a term of its own) for the roofline

.. math:: t = e^{p_0} + \left((w_c e^{p_1})^s + (w_m e^{p_2})^s\right)^{1/s} + e^{p_3} x

(microseconds; :math:`w_c, w_m` compute and memory time at datasheet peaks, x the family's own term), and into
coordinates (log2 of sizes) for the residual. Families are listed once, in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from formulations.costs.curves.precision import Precision
from formulations.costs.curves.sizes import Array, Sizes


@dataclass(frozen=True)
class Work:
    """FLOPs, bytes of memory and of the link, and the family's own term (any unit; its factor is fitted)."""

    flops: Array
    memory_bytes: Array
    link_bytes: Array
    own: Array


@dataclass(frozen=True)
class Family:
    """One kind of operation: how sizes become work and coordinates.

    ``axes``: sizes in which the time never falls; ``sharpness``: exponent s of the roofline's corner;
    ``start``: p0 .. p3 before fitting; ``scales``: coordinate lengths over which residuals vary (log2).
    """

    name: str
    axes: tuple[str, ...]
    work: Callable[[Sizes, Precision], Work]
    coordinates: Callable[[Sizes], Array]
    scales: tuple[float, ...]
    start: tuple[float, float, float, float]
    sharpness: float = 2.0


def _log(values: Array) -> Array:
    return np.asarray(np.log2(np.maximum(values, 2.0**-10)))


def _columns(*values: Array) -> Array:
    return np.stack(np.broadcast_arrays(*values), axis=1)


def _gemm_work(s: Sizes, p: Precision) -> Work:
    moved = s.n * s.k * p.weight + s.m * s.k * p.activation + 2 * s.m * s.n
    return Work(2 * s.m * s.n * s.k, moved, 0 * s.m, s.k / 1000)


def _gemm_coordinates(s: Sizes) -> Array:
    return _columns(_log(s.m), _log(s.n), _log(s.k))


def _elementwise_work(s: Sizes, _p: Precision) -> Work:
    return Work(0 * s.m, 4 * s.m * s.n, 0 * s.m, 0 * s.m)


def _elementwise_coordinates(s: Sizes) -> Array:
    return _columns(_log(s.m), _log(s.n))


def _seen(s: Sizes, length: Array) -> Array:
    return np.where(s.window > 0, np.minimum(s.window, length), length)


def _prefill_work(s: Sizes, p: Precision) -> Work:
    seen = _seen(s, s.query)
    pairs = np.where(seen < s.query, seen * seen / 2 + (s.query - seen) * seen, s.query * s.query / 2)
    flops = 4 * s.batch * s.heads * s.head_dim * (pairs + 64 * s.query)
    moved = 4 * s.batch * s.query * s.head_dim * (s.heads + s.kv_heads)
    return Work(flops, moved + 0 * p.cache, 0 * flops, s.query * s.head_dim / 128000)


def _prefill_coordinates(s: Sizes) -> Array:
    narrow = _log(s.query / _seen(s, s.query))
    return _columns(
        _log(s.batch * s.heads), _log(s.query), _log(s.heads / s.kv_heads), _log(s.head_dim), narrow, _log(s.batch)
    )


def _decode_work(s: Sizes, p: Precision) -> Work:
    seen = _seen(s, s.context)
    flops = 4 * s.batch * s.heads * s.head_dim * seen
    moved = 2 * s.batch * s.head_dim * (s.kv_heads * seen * p.cache + 2 * s.heads)
    return Work(flops, moved, 0 * flops, np.log2(seen + 1))


def _decode_coordinates(s: Sizes) -> Array:
    seen = _seen(s, s.context)
    narrow = _log(s.context / seen)
    return _columns(_log(s.batch), _log(seen), _log(s.kv_heads), _log(s.heads / s.kv_heads), _log(s.head_dim), narrow)


def _latent_prefill_work(s: Sizes, _p: Precision) -> Work:
    flops = 2 * s.batch * s.heads * 320 * (s.query * s.query / 2 + 64 * s.query)
    return Work(flops, 2 * s.batch * s.query * s.heads * 640, 0 * flops, s.query / 1000)


def _latent_prefill_coordinates(s: Sizes) -> Array:
    return _columns(_log(s.batch), _log(s.query), _log(s.heads))


def _latent_decode_work(s: Sizes, p: Precision) -> Work:
    flops = 2 * s.batch * s.heads * s.context * 1088
    moved = s.batch * (s.context * 576 * p.cache + s.heads * 2176)
    return Work(flops, moved, 0 * flops, np.log2(s.context + 1))


def _latent_decode_coordinates(s: Sizes) -> Array:
    return _columns(_log(s.batch), _log(s.context), _log(s.heads))


def _expert_loads(s: Sizes) -> tuple[Array, Array, Array]:
    """Return experts a rank, (token, expert) pairs a rank, and experts that those pairs touch."""
    local = np.maximum(s.experts / s.ep, 1)
    pairs = s.tokens * s.topk / s.ep
    spread = local * (1 - np.exp(-0.7 * pairs / local))
    touched = np.where(s.skew > 0, spread, np.minimum(local, pairs))
    return local, pairs, np.maximum(touched, np.minimum(1, pairs))


def _experts_work(s: Sizes, p: Precision) -> Work:
    _, pairs, touched = _expert_loads(s)
    inter = s.inter / s.tp
    moved = touched * 3 * s.hidden * inter * p.weight + pairs * (4 * s.hidden + 6 * inter)
    return Work(6 * pairs * s.hidden * inter, moved, 0 * pairs, touched / 100)


def _experts_coordinates(s: Sizes) -> Array:
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


def _exchanged(share: Callable[[Array], Array]) -> Callable[[Sizes, Precision], Work]:
    def work(s: Sizes, _p: Precision) -> Work:
        link_bytes = share(s.ranks) * s.message_bytes
        return Work(0 * link_bytes, 0 * link_bytes, link_bytes, s.ranks)

    return work


def _message_coordinates(s: Sizes) -> Array:
    return _columns(_log(s.message_bytes), _log(s.ranks))


def _routing_work(s: Sizes, _p: Precision) -> Work:
    link_bytes = s.tokens * np.minimum(s.topk, s.ranks) * s.hidden * 2
    return Work(0 * link_bytes, 0 * link_bytes, link_bytes, s.ranks)


def _routing_coordinates(s: Sizes) -> Array:
    return _columns(
        _log(s.tokens),
        _log(s.hidden),
        _log(s.topk),
        _log(s.experts),
        _log(s.ranks),
        _log(np.maximum(s.multiprocessors, 1)),
    )


def _recurrence_work(s: Sizes, _p: Precision) -> Work:
    rows = s.batch * s.query
    flops = 8 * rows * s.heads * s.head_dim * s.head_dim
    moved = 8 * s.batch * s.heads * s.head_dim * s.head_dim + 4 * rows * (s.heads + s.kv_heads) * s.head_dim
    return Work(flops, moved, 0 * flops, s.query / 1000)


def _recurrence_coordinates(s: Sizes) -> Array:
    return _columns(_log(s.batch), _log(s.query), _log(s.heads), _log(s.kv_heads))


def _family(
    name: str,
    axes: str,
    work: Callable[[Sizes, Precision], Work],
    coordinates: Callable[[Sizes], Array],
    scales: tuple[float, ...],
    start: tuple[float, float, float, float],
    sharpness: float = 2.0,
) -> Family:
    return Family(name, tuple(axes.split()), work, coordinates, scales, start, sharpness)


def _ring(ranks: Array) -> Array:
    return 2 * (ranks - 1) / ranks


def _once(ranks: Array) -> Array:
    return (ranks - 1) / ranks


_ATTENTION = (2.0, 0.4, 0.3, -1.0)
_EXPERTS = (7.0, 2.0, 5.0, 4.0, 4.0, 6.0, 1.5)
_ROUTING = (4.0, 4.0, 4.0, 5.0, 3.0, 4.0)
_MESSAGE = (4.0, 3.0)

_LISTED = (
    _family("gemm", "m", _gemm_work, _gemm_coordinates, (2.0, 3.0, 3.0), (0.7, 0.3, 0.2, -1.0), 4.0),
    _family("elementwise", "m", _elementwise_work, _elementwise_coordinates, (3.0, 3.0), (1.5, 0.0, 0.3, -9.0)),
    _family(
        "attn_prefill", "batch query", _prefill_work, _prefill_coordinates, (3.0, 2.5, 6.0, 2.0, 4.0, 8.0), _ATTENTION
    ),
    _family(
        "attn_decode", "batch context", _decode_work, _decode_coordinates, (2.0, 2.0, 2.5, 5.0, 2.5, 6.0), _ATTENTION
    ),
    *(
        _family(name, "batch query", _latent_prefill_work, _latent_prefill_coordinates, (3.0, 3.0, 4.0), _ATTENTION)
        for name in ("mla_prefill", "mla_prefill_module")
    ),
    *(
        _family(name, "batch context", _latent_decode_work, _latent_decode_coordinates, (2.0, 2.0, 3.0), _ATTENTION)
        for name in ("mla_decode", "mla_decode_module")
    ),
    *(
        _family(name, "tokens", _experts_work, _experts_coordinates, _EXPERTS, (2.3, 0.4, 0.3, -3.0))
        for name in ("moe", "moe_wideep", "moe_ep_prefill", "moe_ep_decode")
    ),
    *(
        _family(name, "message_bytes", _exchanged(_ring), _message_coordinates, _MESSAGE, (2.0, 0.0, 0.4, 0.0))
        for name in ("custom_all_reduce", "nccl_all_reduce")
    ),
    *(
        _family(name, "message_bytes", _exchanged(_once), _message_coordinates, _MESSAGE, (2.0, 0.0, 0.4, 0.0))
        for name in ("nccl_all_gather", "nccl_alltoall", "nccl_reduce_scatter")
    ),
    _family("p2p", "message_bytes", _exchanged(np.ones_like), _message_coordinates, _MESSAGE, (2.0, 0.0, 0.4, -3.0)),
    *(
        _family(name, "tokens", _routing_work, _routing_coordinates, _ROUTING, (3.0, 0.0, 0.4, -1.0))
        for name in (
            "deepep_ll_dispatch",
            "deepep_ll_combine",
            "deepep_ht_dispatch",
            "deepep_ht_combine",
            "moe_a2a_dispatch",
            "moe_a2a_combine",
            "trtllm_alltoall_dispatch",
            "trtllm_alltoall_combine",
            "trtllm_alltoall_combine_low_precision",
            "trtllm_alltoall_prepare",
        )
    ),
    *(
        _family(name, "batch query", _recurrence_work, _recurrence_coordinates, (3.0, 3.0, 3.0, 4.0), _ATTENTION)
        for name in ("gdn_context", "gdn_generation")
    ),
)
FAMILIES = {family.name: family for family in _LISTED}
