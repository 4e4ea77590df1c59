"""How the tensors of a checkpoint are stored: ``quantization_config`` and ``hf_quant_config.json``.

A tensor class whose matrices are stored in several formats is counted in the widest of them, and a note says
so: memory is never understated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from instances.huggingface.config import Config
from instances.huggingface.modules import Module, list_modules
from instances.huggingface.schemes import Scheme, read_scheme
from instances.layers import Layer
from instances.model import DType, Formats, TensorFormat

BASE_DTYPES: dict[str, DType] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


@dataclass(frozen=True)
class Storage:
    """Formats of the tensor classes and of the KV cache, and what had to be said about them."""

    formats: Formats
    kv_dtype: DType
    notes: tuple[str, ...] = ()


def read_storage(config: Config, layers: Sequence[Layer], quantization: Mapping[str, object] | None) -> Storage:
    """Return how a checkpoint is stored.

    Raises
    ------
    InputError
        If the dtype or the quantisation method is not understood.
    """
    base, notes = _base_dtype(config)
    formats = Formats.uniform(base)
    scheme = read_scheme(config, quantization)
    if scheme is None:
        return Storage(formats=formats, kv_dtype=base, notes=notes)
    plain = TensorFormat(dtype=base)
    changed: dict[str, TensorFormat] = {}
    modules = list_modules(layers, config.hidden, by_layer=scheme.by_layer)
    for tensor_class in ("attention", "dense_ffn", "experts"):
        members = [module for module in modules if module.tensor_class == tensor_class]
        chosen, note = _widest(scheme, members, plain)
        changed[tensor_class] = chosen
        notes = (*notes, *((f"{tensor_class}: {note}",) if note else ()))
    kv_dtype: DType = scheme.kv_dtype or base
    return Storage(formats=formats.model_copy(update=changed), kv_dtype=kv_dtype, notes=(*notes, *scheme.notes))


def _base_dtype(config: Config) -> tuple[DType, tuple[str, ...]]:
    field = "torch_dtype" if config.has("torch_dtype") else "dtype"
    word = config.word(field)
    if word is None:
        return "bf16", ("the file names no dtype; bf16 is used",)
    if word not in BASE_DTYPES:
        raise config.refuse(field, f"is not understood; understood: {', '.join(BASE_DTYPES)}")
    return BASE_DTYPES[word], ()


def _widest(scheme: Scheme, members: Sequence[Module], plain: TensorFormat) -> tuple[TensorFormat, str | None]:
    sizes: dict[TensorFormat, int] = {}
    for module in members:
        stored = scheme.format_of(module) or plain
        sizes[stored] = sizes.get(stored, 0) + module.parameters
    if not sizes:
        return plain, None
    widest = max(sizes, key=lambda stored: stored.bits)
    if len(sizes) == 1:
        return widest, None
    total = sum(sizes.values())
    parts = ", ".join(f"{size / total:.1%} {stored.dtype}" for stored, size in sizes.items())
    return widest, f"stored as {parts}; all of it is counted as {widest.dtype}"
