"""Models: an ordered list of layers between an embedding and a head, each tensor class with a format."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from pydantic import Field, model_validator

from shardproof.instances.base import Record
from shardproof.instances.formats import BITS, DType, Formats, TensorFormat
from shardproof.instances.layers import Layer, MixtureOfExperts

__all__ = ["BITS", "DType", "Formats", "LayerRun", "Model", "TensorFormat"]


class LayerRun(Record):
    """A pattern of layer kinds, repeated; the pattern names keys of `Model.kinds`."""

    pattern: tuple[str, ...] = Field(min_length=1)
    repeat: int = Field(default=1, ge=1)


class Model(Record):
    """A decoder-only transformer.

    ``kinds`` names the distinct layers, ``runs`` orders them. ``tied``: the head is the embedding
    (counted once in `parameters`, held by the first and by the last stage). ``embedding_parameters``
    and ``head_parameters`` beyond ``vocab x hidden`` stay zero for every known model.
    ``residual_streams``: copies of the hidden state that run between layers (hyper-connections).
    ``quant_method``: how the checkpoint says that it is quantised, on which the devices depend that can run it.
    ``extra_parameters`` are loaded on the first stage though text never uses them (vision towers).
    ``predictors``: layers of one multi-token-prediction module, of which there are ``predictor_modules``; they count
    where speculative decoding uses them, and nowhere else.
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
    residual_streams: int = Field(default=1, ge=1)
    quant_method: str | None = None
    predictors: tuple[Layer, ...] = ()
    predictor_modules: int = Field(default=0, ge=0, le=64)
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

    def stored_as(self, layer: Layer) -> Model:
        """Return this model with the formats in which one layer is stored."""
        return self if layer.formats is None else self.model_copy(update={"formats": layer.formats})

    def with_formats(self, formats: Formats) -> Model:
        """Return this model with every layer stored in the given formats."""
        kinds = {name: layer.model_copy(update={"formats": None}) for name, layer in self.kinds.items()}
        predictors = tuple(layer.model_copy(update={"formats": None}) for layer in self.predictors)
        changes = {"formats": formats, "kinds": kinds, "predictors": predictors, "quant_method": None}
        return self.model_copy(update=changes)

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
        return ends + sum(count * self.layer_parameters(kind) for kind, count in Counter(self.layer_kinds).items())

    @cached_property
    def active_parameters(self) -> int:
        """Elements that one token passes: top-k experts per layer, head and embedding table included."""
        ends = self.vocab * self.hidden * (1 if self.tied else 2) + self.final_norm_parameters
        counts = Counter(self.layer_kinds).items()
        return ends + sum(n * self._layer_parameters(self.kinds[kind], experts_per_layer=1) for kind, n in counts)
