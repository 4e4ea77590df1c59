"""How tensors are stored: dtypes, quantisation blocks, and the format of each tensor class."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shardproof.instances.base import Record

TensorClass = Literal["attention", "dense_ffn", "experts", "router", "norms", "embedding", "head"]

DType = Literal["fp32", "bf16", "fp16", "fp8", "int8", "mxfp4", "nvfp4", "int4"]

BITS: dict[str, int] = {
    "fp32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "int8": 8,
    "mxfp4": 4,
    "nvfp4": 4,
    "int4": 4,
}


class TensorFormat(Record):
    """How one tensor class is stored: dtype, and the blocks that share one quantisation scale.

    ``block`` is (outputs, inputs) elements per scale; ``scale_bits`` the size of one scale.
    """

    dtype: DType
    block: tuple[int, int] | None = None
    scale_bits: int = Field(default=32, ge=0)

    @property
    def bits(self) -> int:
        """Bits per element, scales not included."""
        return BITS[self.dtype]


class Formats(Record):
    """The format of each tensor class.

    ``exceptions``: matrices stored unlike the rest of their class, by class and name (``attention.output``).
    """

    attention: TensorFormat
    dense_ffn: TensorFormat
    experts: TensorFormat
    router: TensorFormat
    norms: TensorFormat
    embedding: TensorFormat
    head: TensorFormat
    exceptions: tuple[tuple[str, TensorFormat], ...] = ()

    @classmethod
    def uniform(cls, dtype: DType) -> Formats:
        """Every tensor class in one dtype, without block scales."""
        one = TensorFormat(dtype=dtype)
        return cls(attention=one, dense_ffn=one, experts=one, router=one, norms=one, embedding=one, head=one)

    def of(self, tensor_class: TensorClass) -> TensorFormat:
        """Return the format of a tensor class."""
        found: TensorFormat = getattr(self, tensor_class)
        return found

    def of_matrix(self, tensor_class: TensorClass, name: str) -> TensorFormat:
        """Return the format of one matrix: that of its class, or its own."""
        wanted = f"{tensor_class}.{name}"
        return next((stored for key, stored in self.exceptions if key == wanted), self.of(tensor_class))
