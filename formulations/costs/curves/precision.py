"""precision: what the dtype names of measurements mean in bytes and compute dtypes."""

from __future__ import annotations

from dataclasses import dataclass

WEIGHT_BYTES = {
    "fp8": 1.0,
    "fp8_block": 1.0,
    "int8": 1.0,
    "int8_wo": 1.0,
    "sq": 1.0,
    "int4_wo": 0.5,
    "w4afp8": 0.5,
    "nvfp4": 0.5625,
    "w4a16_mxfp4": 0.53125,
    "w4a8_mxfp4_mxfp8": 0.53125,
}
COMPUTE = {
    "fp8": "fp8",
    "fp8_block": "fp8",
    "sq": "int8",
    "nvfp4": "fp4",
    "w4afp8": "fp8",
    "w4a8_mxfp4_mxfp8": "fp8",
}


@dataclass(frozen=True)
class Precision:
    """Compute dtype and bytes an element of one curve: weights, activations, KV cache."""

    compute: str
    weight: float
    activation: float
    cache: float

    @classmethod
    def of(cls, dtype: str, kv_dtype: str) -> Precision:
        """Return what the names of a measurement mean; a name not known is 16 bits wide."""
        compute = COMPUTE.get(dtype, "bf16")
        activation = {"fp8": 1.0, "int8": 1.0, "fp4": 0.5625}.get(compute, 2.0)
        return cls(compute, WEIGHT_BYTES.get(dtype, 2.0), activation, WEIGHT_BYTES.get(kv_dtype, 2.0))
