"""settings: which curves are fitted together, and how smooth their residuals are taken to be.

Chosen by the error on whole shapes held out of the recorded measurements (`shardproof calibrate` prints it).
"""

from __future__ import annotations

from instances.calibration import CurveKey
from solver.calibration.residual import Smoothness

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
_COUNTS = {"gemm": 200, "attn_prefill": 250, "attn_decode": 250, "moe": 300}


def pool_of(family: str, device: str, key: CurveKey) -> str:
    """Return the pool of a curve: devices of one generation, and one dtype for matrix products."""
    generation = _GENERATIONS.get(device, device)
    return f"{generation} {key.dtype}" if family in _BY_DTYPE else generation


def smoothness_of(family: str) -> Smoothness:
    """Return how smooth the residuals of a family are."""
    return _SMOOTHNESS.get(family, Smoothness())


def centre_count(family: str) -> int:
    """Return how many centres a family's residual has at most."""
    return _COUNTS.get(family, 80)


_SMOOTHNESS: dict[str, Smoothness] = {}
