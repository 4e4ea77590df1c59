"""Quantisation methods: from a ``quantization_config`` to the format of each matrix.

========================  ==========================================================================
method                    what is understood
========================  ==========================================================================
fp8, fbgemm_fp8           8-bit floats, one scale a block (``weight_block_size``), row or tensor
mxfp4                     experts in blocks of 32 with 8-bit scales (gpt-oss)
gptq, awq                 4 or 8-bit integers in groups, 16-bit scales, packed zero points
compressed-tensors        its groups: 8-bit floats or integers, 4-bit integers, 4-bit floats
modelopt                  FP8, block FP8, MXFP8, NVFP4, W4A16, one for all or listed by layer
bitsandbytes              4 bits in blocks of 64 (scales quantised again or not), 8 bits with row scales
auto-round                4 or 8-bit integers in groups, modules with settings of their own
quark                     FP8, INT8, INT4, MXFP4 by tensor, channel or group
torchao                   INT4, INT8 and FP8 configurations by their type name
========================  ==========================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from shardproof.instances.huggingface import toolkits
from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.modules import Module, Patterns
from shardproof.instances.huggingface.scheme import (
    BYTE_SCALE_BITS,
    EXCLUDING,
    HALF_SCALE_BITS,
    ROW_SCALES,
    SCALE_BITS,
    Scheme,
    everywhere,
    excluded_patterns,
    grouped_integers,
)
from shardproof.instances.model import DType, TensorFormat


def read_scheme(config: Config, separate: Mapping[str, object] | None) -> Scheme | None:
    """Return the quantisation scheme of a checkpoint, ``None`` for an unquantised one.

    Raises
    ------
    InputError
        If the method is not understood.
    """
    found = _section(config, separate)
    if found is None:
        return None
    method = _method(found)
    reader = METHODS.get(method or "")
    if reader is None:
        raise found.refuse(
            "quant_method",
            f"method '{method}' is not understood, and is not guessed; understood: {', '.join(METHODS)}",
        )
    try:
        return _with_experts(config, reader(found))
    except re.error as error:
        raise found.refuse("ignore", f"holds a pattern that cannot be used as a regular expression ({error})") from None


def method_of(config: Config, separate: Mapping[str, object] | None) -> str | None:
    """Return the name of a checkpoint's quantisation method, ``None`` for an unquantised one."""
    found = _section(config, separate)
    return None if found is None else _method(found)


def leaves_predictors(config: Config, separate: Mapping[str, object] | None) -> bool:
    """Whether a checkpoint's list of modules that stay as they are names its multi-token-prediction modules."""
    found = _section(config, separate)
    listed = () if found is None else (item for field in EXCLUDING for item in found.words(field) or ())
    return any(re.match(r"(?:re:)?\W*(?:model\.)?\W*mtp", item) for item in listed)


def _section(config: Config, separate: Mapping[str, object] | None) -> Config | None:
    section = config.section("quantization_config")
    if section is None and separate is None:
        return None
    fields = dict(section or {})
    if section is None and separate is not None:
        inner = separate.get("quantization")
        fields = {**(inner if isinstance(inner, Mapping) else separate), "quant_method": "modelopt"}
    return Config(fields=fields, where=f"{config.where}: quantization_config")


def _method(found: Config) -> str | None:
    return found.word("quant_method") or ("modelopt" if found.has("quant_algo") else None)


def _with_experts(config: Config, scheme: Scheme) -> Scheme:
    """Store routed experts as ``expert_dtype`` says, where that differs from the rest (DeepSeek-V4)."""
    stated = config.word("expert_dtype")
    if stated in (None, "fp8"):
        return scheme
    if stated not in ("fp4", "mxfp4"):
        raise config.refuse("expert_dtype", "is not understood; understood: fp4, fp8")
    experts = TensorFormat(dtype="mxfp4", block=(1, 32), scale_bits=BYTE_SCALE_BITS)
    return replace(
        scheme,
        format_of=lambda module: experts if module.tensor_class == "experts" else scheme.format_of(module),
    )


def _block(config: Config, field: str) -> tuple[int, int] | None:
    sizes = config.numbers(field)
    if sizes is None:
        return None
    if len(sizes) != 2 or min(sizes) < 1:
        raise config.refuse(field, "must be two positive whole numbers")
    return sizes[0], sizes[1]


def _read_fp8(config: Config) -> Scheme:
    block = _block(config, "weight_block_size")
    bits = BYTE_SCALE_BITS if config.word("scale_fmt") == "ue8m0" else SCALE_BITS
    stored = TensorFormat(dtype="fp8", block=block, scale_bits=bits if block else SCALE_BITS)
    return everywhere(config, stored, notes=() if block else (ROW_SCALES,))


def _read_mxfp4(config: Config) -> Scheme:
    stored = TensorFormat(dtype="mxfp4", block=(1, 32), scale_bits=BYTE_SCALE_BITS)
    excluded = excluded_patterns(config)
    return Scheme(
        format_of=lambda module: stored if module.tensor_class == "experts" and not excluded.match(module) else None,
        by_layer=excluded.by_layer,
    )


def _read_gptq(config: Config) -> Scheme:
    group = config.integer("group_size", "q_group_size", default=128, minimum=-1)
    stored = grouped_integers(config, config.integer("bits", "w_bit"), group, zero_points=True)
    dynamic = config.section("dynamic") or {}
    changed = [pattern for pattern in dynamic if not pattern.startswith("-:")]
    if changed:
        raise config.refuse("dynamic", "settings that change by module are not understood")
    skipped = Patterns(tuple("re:" + pattern.removeprefix("-:") for pattern in dynamic))
    usual = everywhere(config, stored)
    return Scheme(format_of=lambda module: None if skipped.match(module) else usual.format_of(module))


def _kv_dtype(config: Config) -> DType | None:
    scheme = config.fields.get("kv_cache_scheme") or config.fields.get("kv_cache_quant_algo")
    if scheme is None:
        return None
    if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8:
        return "fp8" if scheme.get("type", "float") == "float" else "int8"
    if isinstance(scheme, str) and scheme.upper() == "FP8":
        return "fp8"
    raise config.refuse("kv_cache_scheme", f"{scheme!r} is not understood; understood: 8 bits".replace("\n", " "))


def _read_compressed(config: Config) -> Scheme:
    groups = config.section("config_groups") or {}
    if not groups:
        raise config.refuse("config_groups", "is missing or empty")
    parts = tuple(_read_group(config, group) for group in groups.values())
    excluded = excluded_patterns(config)

    def format_of(module: Module) -> TensorFormat | None:
        if excluded.match(module):
            return None
        return next((stored for targets, stored in parts if targets is None or targets.match(module)), None)

    by_layer = any(patterns.by_layer for patterns in (excluded, *(targets for targets, _ in parts if targets)))
    return Scheme(format_of=format_of, by_layer=by_layer, kv_dtype=_kv_dtype(config))


def _read_group(config: Config, group: object) -> tuple[Patterns | None, TensorFormat]:
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(group, Mapping) or not isinstance(weights, Mapping):
        raise config.refuse("config_groups", "has a group without weights, which is not understood")
    settings = Config(fields=weights, where=f"{config.where}: weights")
    targets = Config(fields=group, where=config.where).words("targets") or ("Linear",)
    bits, kind = settings.integer("num_bits"), settings.word("type") or "int"
    listed = None if "Linear" in targets else Patterns(targets)
    return listed, _compressed_format(settings, bits, kind)


def _compressed_format(settings: Config, bits: int, kind: str) -> TensorFormat:
    group = settings.optional_integer("group_size", minimum=-1)
    if (kind, bits) == ("float", 8):
        return TensorFormat(dtype="fp8", block=_block(settings, "block_structure"))
    if kind == "int" and bits in (4, 8):
        symmetric = settings.flag("symmetric", default=True)
        return grouped_integers(settings, bits, group or -1, zero_points=not symmetric)
    if (kind, bits) == ("float", 4) and group in (16, 32):
        return MODELOPT["NVFP4" if group == 16 else "MXFP4"]
    raise settings.refuse("num_bits", f"{bits}-bit {kind} weights are not understood")


MODELOPT: dict[str, TensorFormat] = {
    "FP8": TensorFormat(dtype="fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": TensorFormat(dtype="fp8"),
    "FP8_PB_WO": TensorFormat(dtype="fp8", block=(128, 128)),
    "FP8_BLOCK_SCALES": TensorFormat(dtype="fp8", block=(128, 128)),
    "MXFP8": TensorFormat(dtype="fp8", block=(1, 32), scale_bits=BYTE_SCALE_BITS),
    "NVFP4": TensorFormat(dtype="nvfp4", block=(1, 16), scale_bits=BYTE_SCALE_BITS),
    "W4A16_NVFP4": TensorFormat(dtype="nvfp4", block=(1, 16), scale_bits=BYTE_SCALE_BITS),
    "NVFP4_AWQ": TensorFormat(dtype="nvfp4", block=(1, 16), scale_bits=BYTE_SCALE_BITS),
    "MXFP4": TensorFormat(dtype="mxfp4", block=(1, 32), scale_bits=BYTE_SCALE_BITS),
    "W4A8_MXFP4_FP8": TensorFormat(dtype="mxfp4", block=(1, 32), scale_bits=BYTE_SCALE_BITS),
    "W4A16_AWQ": TensorFormat(dtype="int4", block=(1, 128), scale_bits=HALF_SCALE_BITS),
    "W4A8_AWQ": TensorFormat(dtype="int4", block=(1, 128), scale_bits=HALF_SCALE_BITS),
    "INT8_SQ": TensorFormat(dtype="int8"),
}


def _read_modelopt(config: Config) -> Scheme:
    algorithm = config.word("quant_algo") or ""
    if algorithm == "MIXED_PRECISION":
        return _read_mixed(config)
    return everywhere(config, _modelopt_format(config, algorithm), kv_dtype=_kv_dtype(config))


def _modelopt_format(config: Config, algorithm: object) -> TensorFormat:
    stored = MODELOPT.get(str(algorithm).upper())
    if stored is None:
        raise config.refuse(
            "quant_algo", f"'{algorithm}' is not understood; understood: {', '.join(MODELOPT)}, MIXED_PRECISION"
        )
    return stored


def _read_mixed(config: Config) -> Scheme:
    listed = config.section("quantized_layers") or {}
    by_format: dict[TensorFormat, list[str]] = {}
    for name, settings in listed.items():
        algorithm = settings.get("quant_algo") if isinstance(settings, Mapping) else settings
        by_format.setdefault(_modelopt_format(config, algorithm), []).append(name)
    if not by_format:
        raise config.refuse("quantized_layers", "is missing or empty")
    parts = tuple((Patterns(tuple(names)), stored) for stored, names in by_format.items())

    def format_of(module: Module) -> TensorFormat | None:
        return next((stored for patterns, stored in parts if patterns.match(module)), None)

    return Scheme(format_of=format_of, kv_dtype=_kv_dtype(config))


METHODS: dict[str, Callable[[Config], Scheme]] = {
    "fp8": _read_fp8,
    "fbgemm_fp8": _read_fp8,
    "mxfp4": _read_mxfp4,
    "gptq": _read_gptq,
    "awq": _read_gptq,
    "compressed-tensors": _read_compressed,
    "modelopt": _read_modelopt,
    "bitsandbytes": toolkits.read_bitsandbytes,
    "auto-round": toolkits.read_auto_round,
    "quark": toolkits.read_quark,
    "torchao": toolkits.read_torchao,
}
