"""settings: which curves are fitted together, and how smooth their residuals are taken to be.

Chosen by the error on whole shapes held out of the recorded measurements (`shardproof calibrate` prints it).
"""

from __future__ import annotations

from shardproof.instances.calibration import CurveKey
from shardproof.solver.calibration.residual import Smoothness

_GENERATIONS = {
    "a100-80-sxm": "ampere",
    "a40": "ampere",
    "h100-sxm": "hopper",
    "h200-sxm": "hopper",
    "b200-sxm": "blackwell",
    "b300-sxm": "blackwell",
    "gb200-nvl72": "blackwell",
    "gb300-nvl72": "blackwell",
}
_BY_DTYPE = ("gemm", "moe", "moe_wideep", "moe_ep_prefill", "moe_ep_decode")
_COUNTS = {"gemm": 200, "attn_prefill": 350, "attn_decode": 350, "moe": 350}


def generation_of(device: str) -> str:
    """Return the generation of a device: its own name where no other measured device shares one."""
    return _GENERATIONS.get(device, device)


def pool_of(family: str, device: str, key: CurveKey) -> str:
    """Return the pool of a curve: devices of one generation, and one dtype for matrix products."""
    generation = generation_of(device)
    return f"{generation} {key.dtype}" if family in _BY_DTYPE else generation


def smoothness_of(family: str) -> Smoothness:
    """Return how smooth the residuals of a family are."""
    return _SMOOTHNESS.get(family, Smoothness())


def centre_count(family: str) -> int:
    """Return how many centres a family's residual has at most."""
    return _COUNTS.get(family, 80)


_LATENT = Smoothness(noise=0.06, spread=0.25, common=0.35, kernel=0.27, device=0.13, curve=0.25)
_EXPERTS = Smoothness(noise=0.065, spread=0.16, common=0.56, kernel=0.2, device=0.06, curve=0.18)
_EXCHANGES = Smoothness(noise=0.02)
_SMOOTHNESS = {
    "gemm": Smoothness(noise=0.04, spread=0.25, common=0.28, kernel=0.3, device=0.1, curve=0.32),
    "attn_prefill": Smoothness(noise=0.025, spread=0.16, common=0.35, kernel=0.26, device=0.13, curve=0.26),
    "attn_decode": Smoothness(noise=0.1, spread=0.1, common=0.35, kernel=0.26, device=0.13, curve=0.26),
    "mla_prefill": _LATENT,
    "mla_prefill_module": _LATENT,
    "mla_decode": _LATENT,
    "mla_decode_module": _LATENT,
    "moe": _EXPERTS,
    "moe_wideep": _EXPERTS,
    "custom_all_reduce": _EXCHANGES,
    "nccl_all_reduce": _EXCHANGES,
    "nccl_all_gather": _EXCHANGES,
    "nccl_alltoall": _EXCHANGES,
    "nccl_reduce_scatter": _EXCHANGES,
}
