"""Models: an ordered list of layers between an embedding and a head, each tensor class with a format."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from instances.base import Record
from instances.layers import Layer, MixtureOfExperts, TensorClass

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
    """The format of each tensor class."""

    attention: TensorFormat
    dense_ffn: TensorFormat
    experts: TensorFormat
    router: TensorFormat
    norms: TensorFormat
    embedding: TensorFormat
    head: TensorFormat

    @classmethod
    def uniform(cls, dtype: DType) -> Formats:
        """Every tensor class in one dtype, without block scales."""
        one = TensorFormat(dtype=dtype)
        return cls(
            attention=one, dense_ffn=one, experts=one, router=one, norms=one, embedding=one, head=one
        )

    def of(self, tensor_class: TensorClass) -> TensorFormat:
        """Return the format of a tensor class."""
        found: TensorFormat = getattr(self, tensor_class)
        return found


class LayerRun(Record):
    """A pattern of layer kinds, repeated; the pattern names keys of `Model.kinds`."""

    pattern: tuple[str, ...] = Field(min_length=1)
    repeat: int = Field(default=1, ge=1)


class Model(Record):
    """A decoder-only transformer.

    ``kinds`` names the distinct layers, ``runs`` orders them. ``tied``: the head is the embedding
    (counted once in `parameters`, held by the first and by the last stage). ``embedding_parameters``
    and ``head_parameters`` beyond ``vocab x hidden`` stay zero for every known model.
    ``extra_parameters`` are loaded on the first stage though text never uses them (vision towers).
    """

    name: str
    family: str
    source: str
    hidden: int = Field(gt=0)
    vocab: int = Field(gt=0)
    tied: bool = False
    max_position: int = Field(gt=0)
    kinds: dict[str, Layer]
    runs: tuple[LayerRun, ...] = Field(min_length=1)
    final_norm_parameters: int = Field(ge=0)
    extra_parameters: int = Field(default=0, ge=0)
    formats: Formats
    kv_dtype: DType = "bf16"
    published_parameters: int | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _kinds_exist(self) -> Model:
        named = {kind for run in self.runs for kind in run.pattern}
        missing = sorted(named - set(self.kinds))
        if missing:
            raise ValueError(f"runs name layer kinds that are not defined: {', '.join(missing)}")
        return self

    @cached_property
    def layer_kinds(self) -> tuple[str, ...]:
        """The kind of every layer, first to last."""
        return tuple(kind for run in self.runs for _ in range(run.repeat) for kind in run.pattern)

    @property
    def layer_count(self) -> int:
        """Number of layers."""
        return len(self.layer_kinds)

    def layer_parameters(self, kind: str) -> int:
        """Elements of one layer of a kind, every expert counted."""
        return self._layer_parameters(self.kinds[kind], experts_per_layer=None)

    def _layer_parameters(self, layer: Layer, *, experts_per_layer: int | None) -> int:
        parts = (*layer.attention.matrices(self.hidden), *layer.feed_forward.matrices(self.hidden))
        total = sum(matrix.parameters for matrix in parts)
        total += layer.norm_parameters + layer.attention.norm_parameters
        ffn = layer.feed_forward
        if isinstance(ffn, MixtureOfExperts):
            count = ffn.experts if experts_per_layer is None else min(ffn.topk, ffn.experts)
            expert = sum(matrix.parameters for matrix in ffn.expert_matrices(self.hidden))
            total += ffn.router(self.hidden).parameters + count * expert
        return total

    @cached_property
    def parameters(self) -> int:
        """Elements of the whole text model (a tied head once, vision towers not included)."""
        ends = self.vocab * self.hidden * (1 if self.tied else 2) + self.final_norm_parameters
        return ends + sum(self.layer_parameters(kind) for kind in self.layer_kinds)

    @cached_property
    def active_parameters(self) -> int:
        """Elements that one token passes: top-k experts per layer, head and embedding table included."""
        ends = self.vocab * self.hidden * (1 if self.tied else 2) + self.final_norm_parameters
        layers = (self.kinds[kind] for kind in self.layer_kinds)
        return ends + sum(self._layer_parameters(layer, experts_per_layer=1) for layer in layers)
