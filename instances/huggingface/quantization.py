"""How the tensors of a checkpoint are stored: ``quantization_config`` and ``hf_quant_config.json``.

Formats belong to tensor classes. A layer stored unlike most others carries formats of its own. Where the
matrices of one class differ within a layer, the class is counted in the widest of their formats, and a note
says so: memory is never understated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from instances.huggingface.config import Config
from instances.huggingface.modules import Module, layer_modules
from instances.huggingface.schemes import Scheme, read_scheme
from instances.layers import Layer
from instances.model import DType, Formats, TensorFormat

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
            for layer, (found, _) in zip(layers, stored, strict=True)
        ),
        formats=formats,
        kv_dtype=scheme.kv_dtype or base,
        notes=(*notes, *dict.fromkeys(note for _, said in stored for note in said), *scheme.notes),
    )


LayerFormats = tuple[dict[str, TensorFormat], tuple[str, ...]]


def _layer_formats(scheme: Scheme, layers: Sequence[Layer], hidden: int, plain: TensorFormat) -> list[LayerFormats]:
    @cache
    def of(index: int, layer: Layer) -> LayerFormats:
        modules = tuple(layer_modules(index, layer, hidden))
        found = {
            name: _widest(scheme, [module for module in modules if module.tensor_class == name], plain)
            for name in QUANTISED
        }
        notes = tuple(f"{name}: {said}" for name, (_, said) in found.items() if said)
        return {name: chosen for name, (chosen, _) in found.items() if chosen is not None}, notes

    return [of(index if scheme.by_layer else 0, layer) for index, layer in enumerate(layers)]


def _most_common(stored: Sequence[LayerFormats]) -> dict[str, TensorFormat]:
    counts = {name: Counter(found[name] for found, _ in stored if name in found) for name in QUANTISED}
    return {name: count.most_common(1)[0][0] for name, count in counts.items() if count}


def _own(formats: Formats, found: Mapping[str, TensorFormat]) -> Formats | None:
    own = formats.model_copy(update=dict(found))
    return None if own == formats else own


def _base_dtype(config: Config) -> tuple[DType, tuple[str, ...]]:
    field = "torch_dtype" if config.has("torch_dtype") else "dtype"
    word = config.word(field)
    if word is None:
        return "bf16", ("the file names no dtype; bf16 is used",)
    if word not in BASE_DTYPES:
        raise config.refuse(field, f"is not understood; understood: {', '.join(BASE_DTYPES)}")
    return BASE_DTYPES[word], ()


def _widest(scheme: Scheme, members: Sequence[Module], plain: TensorFormat) -> tuple[TensorFormat | None, str | None]:
    sizes: Counter[TensorFormat] = Counter()
    for module in members:
        sizes[scheme.format_of(module) or plain] += module.parameters
    if not sizes:
        return None, None
    widest = max(sizes, key=lambda stored: stored.bits)
    if len(sizes) == 1:
        return widest, None
    total = sum(sizes.values())
    parts = ", ".join(f"{size / total:.1%} {stored.dtype}" for stored, size in sizes.items())
    return widest, f"stored as {parts} within a layer; all of it is counted as {widest.dtype}"
