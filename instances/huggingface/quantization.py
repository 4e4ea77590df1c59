"""How the tensors of a checkpoint are stored: ``quantization_config`` and ``hf_quant_config.json``.

Formats belong to tensor classes, with exceptions for single matrices. A layer stored unlike most others carries
formats of its own. Experts whose matrices differ within a layer are counted in the widest of their formats, and a
note says so: memory is never understated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.modules import Module, layer_modules
from shardproof.instances.huggingface.scheme import Scheme
from shardproof.instances.huggingface.schemes import leaves_predictors, read_scheme
from shardproof.instances.layers import Layer
from shardproof.instances.model import DType, Formats, TensorFormat

BASE_DTYPES: dict[str, DType] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
QUANTISED = ("attention", "dense_ffn", "experts")


@dataclass(frozen=True)
class Storage:
    """Layers with their own formats where they have any, formats of the model and KV cache, and notes."""

    layers: tuple[Layer, ...]
    formats: Formats
    kv_dtype: DType
    notes: tuple[str, ...] = ()


def read_storage(config: Config, layers: tuple[Layer, ...], quantization: Mapping[str, object] | None) -> Storage:
    """Return how a checkpoint is stored.

    Raises
    ------
    InputError
        If the dtype or the quantisation method is not understood.
    """
    base, notes = _base_dtype(config)
    plain = Formats.uniform(base)
    scheme = read_scheme(config, quantization)
    if scheme is None:
        return Storage(layers=layers, formats=plain, kv_dtype=base, notes=notes)
    stored = _layer_formats(scheme, layers, config.hidden, plain.norms)
    formats = plain.model_copy(update=_most_common(stored))
    return Storage(
        layers=tuple(
            layer.model_copy(update={"formats": _own(formats, found)})
            for layer, found in zip(layers, stored, strict=True)
        ),
        formats=formats,
        kv_dtype=scheme.kv_dtype or base,
        notes=(*notes, *dict.fromkeys(note for found in stored for note in found.notes), *scheme.notes),
    )


def stored_behind(
    config: Config, layers: tuple[Layer, ...], place: int, formats: Formats, quantization: Mapping[str, object] | None
) -> tuple[Layer, ...]:
    """Return layers of a multi-token-prediction module as stored: the checkpoint numbers them on from ``place``.

    A checkpoint that leaves modules named ``mtp`` alone does not quantise them.
    """
    scheme = read_scheme(config, quantization)
    if scheme is None:
        return layers
    plain = Formats.uniform(_base_dtype(config)[0])
    if leaves_predictors(config, quantization):
        return tuple(layer.model_copy(update={"formats": plain}) for layer in layers)
    return tuple(
        layer.model_copy(update={"formats": formats.model_copy(update=_classes(scheme, layer, place, config, plain))})
        for layer in layers
    )


def _classes(scheme: Scheme, layer: Layer, place: int, config: Config, plain: Formats) -> dict[str, object]:
    modules = tuple(layer_modules(place, layer, config.hidden))
    found = _formats_of(scheme, modules, plain.norms)
    return {**dict(found.classes), "exceptions": found.exceptions}


@dataclass(frozen=True)
class LayerFormats:
    """What one layer is stored in: a format for each class that it has, and matrices that differ from it."""

    classes: tuple[tuple[str, TensorFormat], ...]
    exceptions: tuple[tuple[str, TensorFormat], ...]
    notes: tuple[str, ...]


def _layer_formats(scheme: Scheme, layers: Sequence[Layer], hidden: int, plain: TensorFormat) -> list[LayerFormats]:
    @cache
    def of(index: int, layer: Layer) -> LayerFormats:
        return _formats_of(scheme, tuple(layer_modules(index, layer, hidden)), plain)

    return [of(index if scheme.by_layer else 0, layer) for index, layer in enumerate(layers)]


def _formats_of(scheme: Scheme, modules: Sequence[Module], plain: TensorFormat) -> LayerFormats:
    stored = {
        name: {item: scheme.format_of(item) or plain for item in modules if item.tensor_class == name}
        for name in QUANTISED
    }
    classes = {name: max(found.values(), key=_bits) for name, found in stored.items() if found}
    single = {name: found for name, found in stored.items() if name != "experts"}
    return LayerFormats(
        classes=tuple(classes.items()),
        exceptions=tuple(
            (f"{name}.{item.matrix}", chosen)
            for name, found in single.items()
            for item, chosen in found.items()
            if chosen != classes[name]
        ),
        notes=_mixed_experts(stored["experts"]),
    )


def _bits(stored: TensorFormat) -> int:
    return stored.bits


def _mixed_experts(found: Mapping[Module, TensorFormat]) -> tuple[str, ...]:
    formats = dict.fromkeys(found.values())
    if len(formats) < 2:
        return ()
    named = ", ".join(stored.dtype for stored in formats)
    return (f"experts are stored as {named} within a layer; all of them are counted as the widest",)


def _most_common(stored: Sequence[LayerFormats]) -> dict[str, object]:
    counts: dict[str, Counter[TensorFormat]] = {}
    for layer in stored:
        for name, chosen in layer.classes:
            counts.setdefault(name, Counter())[chosen] += 1
    found: dict[str, object] = {name: count.most_common(1)[0][0] for name, count in counts.items()}
    return {**found, "exceptions": tuple(dict.fromkeys(item for layer in stored for item in _usual(layer, found)))}


def _usual(layer: LayerFormats, found: Mapping[str, object]) -> tuple[tuple[str, TensorFormat], ...]:
    classes = dict(layer.classes)
    return tuple(item for item in layer.exceptions if classes[item[0].split(".")[0]] == found[item[0].split(".")[0]])


def _own(formats: Formats, layer: LayerFormats) -> Formats | None:
    """Return a layer's own formats; ``None`` where the model's formats say the same of all that the layer holds."""
    own = formats.model_copy(update={**dict(layer.classes), "exceptions": layer.exceptions})
    held = {name for name, _ in layer.classes}
    usual = tuple(item for item in formats.exceptions if item[0].split(".")[0] in held)
    same = all(formats.of(name) == chosen for name, chosen in layer.classes)  # type: ignore[arg-type]
    return None if same and set(usual) == set(layer.exceptions) else own


def _base_dtype(config: Config) -> tuple[DType, tuple[str, ...]]:
    field = "torch_dtype" if config.has("torch_dtype") else "dtype"
    word = config.word(field)
    if word is None:
        return "bf16", ("the file names no dtype; bf16 is used",)
    if word not in BASE_DTYPES:
        raise config.refuse(field, f"is not understood; understood: {', '.join(BASE_DTYPES)}")
    return BASE_DTYPES[word], ()
