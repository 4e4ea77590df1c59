r"""families: which sizes the time of each kind of operation depends on.

A family turns `Sizes` into work (FLOPs, memory bytes, link bytes and terms of its own) for the roofline

.. math:: t = e^{p_0} + \left((w_c e^{p_1})^s + (w_m e^{p_2})^s\right)^{1/s} + \sum_i e^{p_{3+i}} x_i

(microseconds; :math:`w_c, w_m` compute and memory time at datasheet peaks, x the family's own terms), and into
coordinates (log2 of sizes) for the residual. Families are listed once, in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from shardproof.formulations.costs.curves import work as of
from shardproof.formulations.costs.curves.precision import Precision
from shardproof.formulations.costs.curves.sizes import Array, Sizes
from shardproof.formulations.costs.curves.work import Work


@dataclass(frozen=True)
class Family:
    """One kind of operation: how sizes become work and coordinates.

    ``axes``: sizes in which the time never falls; ``sharpness``: exponent s of the roofline's corner;
    ``start``: p0, p1, ... before fitting; ``hold``: weights that keep each near its start (empty: all alike);
    ``scales``: coordinate lengths over which residuals vary (log2).
    """

    name: str
    axes: tuple[str, ...]
    work: Callable[[Sizes, Precision], Work]
    coordinates: Callable[[Sizes], Array]
    scales: tuple[float, ...]
    start: tuple[float, ...]
    sharpness: float = 2.0
    hold: tuple[float, ...] = ()


def _ring(ranks: Array) -> Array:
    return 2 * (ranks - 1) / ranks


def _once(ranks: Array) -> Array:
    return (ranks - 1) / ranks


def _whole(ranks: Array) -> Array:
    return np.ones_like(ranks)


_LATENT = (2.0, 0.4, 0.3, -1.0, -1.0)
_EXCHANGE = (2.0, 0.0, 0.4, 0.0)
_ROUTING = (4.0, 4.0, 4.0, 5.0, 3.0, 4.0)
_ROUTED = (
    "deepep_ll_dispatch", "deepep_ll_combine", "deepep_ht_dispatch", "deepep_ht_combine", "moe_a2a_dispatch",
    "moe_a2a_combine", "trtllm_alltoall_dispatch", "trtllm_alltoall_combine",
    "trtllm_alltoall_combine_low_precision", "trtllm_alltoall_prepare",
)  # fmt: skip


def _matrices() -> Iterator[Family]:
    lengths, padded = (6.0, 6.0, 6.0), (0.7, 0.3, 0.2, -1.0, -1.0, -1.0, 1.0)
    loose = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01)
    yield Family("gemm", ("m",), of.gemm_work, of.gemm_coordinates, lengths, padded, 4.0, loose)
    yield Family("elementwise", ("m",), of.elementwise_work, of.elementwise_coordinates, (3.0, 3.0), (1.5, 0.0, 0.3))
    scales, start = (11.0, 5.0, 8.0, 1.6, 4.0, 9.0, 1.5), (2.3, 0.4, 0.3, -1.0, -3.0, -3.0)
    for name in ("moe", "moe_wideep", "moe_ep_prefill"):
        yield Family(name, ("tokens",), of.experts_work, of.experts_coordinates, scales, start)
    masked, first = (of.masked_experts_work, of.experts_coordinates), (3.0, 0.4, 0.25, -3.0)
    held = (10.0, 1.0, 1.0, 1.0)  # launch near 20 us: rows of few ranks alone would take weights for launch
    yield Family("moe_ep_decode", ("tokens",), *masked, scales, first, hold=held)


def _attentions() -> Iterator[Family]:
    prompt, cache = ("batch", "query"), ("batch", "context")
    start = (2.0, 0.4, 0.3, -1.0, -1.0, -1.0)
    scales = (12.0, 8.0, 18.0, 0.8, 3.0, 40.0)
    yield Family("attn_prefill", prompt, of.prefill_work, of.prefill_coordinates, scales, start)
    scales, alone = (2.0, 3.2, 4.0, 3.2, 1.6, 9.0), (*start, 0.0, 0.0, -3.0)
    loose = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.1)
    yield Family("attn_decode", cache, of.decode_work, of.decode_coordinates, scales, alone, hold=loose)
    latent = of.latent_prefill_work, of.latent_prefill_coordinates
    yield Family("mla_prefill", prompt, *latent, (3.0, 3.0, 2.5), _LATENT)
    module = of.with_projections(latent[0]), latent[1]
    yield Family("mla_prefill_module", prompt, *module, (3.0, 3.0, 2.5), _LATENT)
    absorbed = of.latent_decode_work, of.latent_decode_coordinates
    yield Family("mla_decode", cache, *absorbed, (2.0, 3.2, 2.0), _LATENT)
    module = of.with_projections(absorbed[0]), absorbed[1]
    yield Family("mla_decode_module", cache, *module, (2.0, 3.2, 2.0), _LATENT)
    for name in ("gdn_context", "gdn_generation"):
        recurrence = of.recurrence_work, of.recurrence_coordinates
        yield Family(name, prompt, *recurrence, (3.0, 3.0, 3.0, 4.0), _LATENT[:4])


def _exchanges() -> Iterator[Family]:
    shares: dict[str, Callable[[Array], Array]] = {
        "custom_all_reduce": _ring, "nccl_all_reduce": _ring, "nccl_all_gather": _once, "nccl_alltoall": _once,
        "nccl_reduce_scatter": _once, "p2p": _whole,
    }  # fmt: skip
    for name, share in shares.items():
        work = of.exchanged(share)
        yield Family(name, ("message_bytes",), work, of.message_coordinates, (6.0, 2.5), _EXCHANGE)
    for name in _ROUTED:
        start = (3.0, 0.0, 0.4, -1.0)
        yield Family(name, ("tokens",), of.routing_work, of.routing_coordinates, _ROUTING, start)


FAMILIES = {family.name: family for family in (*_matrices(), *_attentions(), *_exchanges())}
