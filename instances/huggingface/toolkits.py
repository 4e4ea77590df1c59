"""Quantisation toolkits beside the engines' own methods: bitsandbytes, AutoRound, Quark and torchao.

Sources: the ``quantization_config`` that each writes (transformers ``utils/quantization_config.py``:
BitsAndBytesConfig, AutoRoundConfig, QuarkConfig, TorchAoConfig; vLLM ``model_executor/layers/quantization``:
bitsandbytes.py, inc.py, quark, torchao.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.modules import Module, Patterns
from shardproof.instances.huggingface.scheme import (
    BYTE_SCALE_BITS,
    ROW_SCALES,
    SCALE_BITS,
    Scheme,
    everywhere,
    excluded_patterns,
    grouped_integers,
)
from shardproof.instances.model import TensorFormat

BITSANDBYTES_BLOCK = 64


def read_bitsandbytes(config: Config) -> Scheme:
    """4 bits (nf4 or fp4) with one scale for 64 elements, 8 or 32 bits of it; 8 bits with one scale a row."""
    if config.flag("load_in_4bit", default=False):
        twice = config.flag("bnb_4bit_use_double_quant", default=False)
        scale = BYTE_SCALE_BITS + 1 if twice else SCALE_BITS  # 32 bits for 256 scales: rounded up to one bit each
        stored = TensorFormat(dtype="int4", block=(1, BITSANDBYTES_BLOCK), scale_bits=scale)
        return everywhere(config, stored)
    if config.flag("load_in_8bit", default=False):
        return everywhere(config, TensorFormat(dtype="int8"), notes=(ROW_SCALES,))
    raise config.refuse("load_in_4bit", "neither load_in_4bit nor load_in_8bit is true; one of them must be")


def read_auto_round(config: Config) -> Scheme:
    """Integers in groups, but for the modules that ``extra_config`` sets otherwise (16 bits: left alone)."""
    zero_points = not config.flag("sym", default=True) or "gptq" in (config.word("packing_format") or "gptq")
    usual = _auto_round_format(config, config, zero_points=zero_points)
    own: list[tuple[Patterns, TensorFormat | None]] = []
    for name, settings in (config.section("extra_config") or {}).items():
        if not isinstance(settings, Mapping):
            raise config.refuse("extra_config", f"{name} must hold settings such as bits")
        inner = Config(fields={**config.fields, **settings}, where=f"{config.where}: extra_config")
        own.append((Patterns((name,)), _auto_round_format(config, inner, zero_points=zero_points)))
    excluded = excluded_patterns(config)

    def format_of(module: Module) -> TensorFormat | None:
        if excluded.match(module):
            return None
        return next((stored for patterns, stored in own if patterns.match(module)), usual)

    return Scheme(format_of=format_of)


def _auto_round_format(config: Config, settings: Config, *, zero_points: bool) -> TensorFormat | None:
    bits = settings.integer("bits")
    if bits >= 16:
        return None
    if (settings.word("data_type") or "int") not in ("int", "int_sym", "int_asym_dq"):
        raise config.refuse("data_type", "is not understood; understood: int")
    return grouped_integers(settings, bits, settings.integer("group_size", minimum=-1), zero_points=zero_points)


QUARK_DTYPES = {"fp8_e4m3": "fp8", "int8": "int8", "uint8": "int8", "int4": "int4", "uint4": "int4", "fp4": "mxfp4"}


def read_quark(config: Config) -> Scheme:
    """AMD Quark: one setting of weights for all, others for the modules that ``layer_quant_config`` names."""
    usual = _quark_format(config, config.section("global_quant_config"))
    own = tuple(
        (Patterns((_quark_pattern(name),)), _quark_format(config, settings))
        for name, settings in (config.section("layer_quant_config") or {}).items()
    )
    excluded = excluded_patterns(config)
    cache = config.section("kv_cache_quant_config")

    def format_of(module: Module) -> TensorFormat | None:
        if excluded.match(module):
            return None
        return next((stored for patterns, stored in own if patterns.match(module)), usual)

    return Scheme(format_of=format_of, kv_dtype="fp8" if cache else None)


def _quark_pattern(name: str) -> str:
    return name if "*" in name or "." not in name else f"*{name}" if not name.startswith("model.") else name


def _quark_format(config: Config, settings: object) -> TensorFormat | None:
    weights = settings.get("weight") if isinstance(settings, Mapping) else None
    if weights is None:
        return None
    if isinstance(weights, list) and len(weights) == 1:
        weights = weights[0]
    if not isinstance(weights, Mapping):
        raise config.refuse("global_quant_config", "has no single setting of weights, which is not understood")
    inner = Config(fields=weights, where=f"{config.where}: weight")
    dtype = QUARK_DTYPES.get(inner.word("dtype") or "")
    if dtype is None:
        raise inner.refuse("dtype", f"is not understood; understood: {', '.join(QUARK_DTYPES)}")
    if inner.word("qscheme") != "per_group":
        return TensorFormat(dtype=dtype)  # type: ignore[arg-type]
    group = inner.integer("group_size")
    if dtype == "mxfp4":
        return TensorFormat(dtype="mxfp4", block=(1, group), scale_bits=BYTE_SCALE_BITS)
    zero_points = not inner.flag("symmetric", default=True)
    if dtype in ("int4", "int8"):
        return grouped_integers(inner, 4 if dtype == "int4" else 8, group, zero_points=zero_points)
    return TensorFormat(dtype="fp8", block=(1, group))


TORCHAO: dict[str, tuple[str, bool]] = {
    "int4_weight_only": ("int4", True),
    "int4weightonly": ("int4", True),
    "int8_dynamic_activation_int4_weight": ("int4", True),
    "int8dynamicactivationint4weight": ("int4", True),
    "int8_weight_only": ("int8", False),
    "int8weightonly": ("int8", False),
    "int8_dynamic_activation_int8_weight": ("int8", False),
    "int8dynamicactivationint8weight": ("int8", False),
    "float8_weight_only": ("fp8", False),
    "float8weightonly": ("fp8", False),
    "float8_dynamic_activation_float8_weight": ("fp8", False),
    "float8dynamicactivationfloat8weight": ("fp8", False),
}
"""Type names (lower-case, without ``Config``): dtype of the weights, and whether they come in groups."""


def read_torchao(config: Config) -> Scheme:
    """One configuration for every linear layer, named by its type; others by module are refused."""
    kind, settings = _torchao_type(config)
    known = TORCHAO.get(kind.lower().removesuffix("config"))
    if known is None:
        raise config.refuse("quant_type", f"'{kind}' is not understood; understood: {', '.join(TORCHAO)}")
    dtype, grouped = known
    if not grouped:
        return everywhere(config, TensorFormat(dtype=dtype), notes=(ROW_SCALES,))  # type: ignore[arg-type]
    inner = Config(fields=settings, where=f"{config.where}: quant_type")
    return everywhere(config, grouped_integers(inner, 4, inner.integer("group_size", default=128), zero_points=True))


def _torchao_type(config: Config) -> tuple[str, Mapping[str, object]]:
    stated = config.fields.get("quant_type")
    if isinstance(stated, str):
        return stated, config.section("quant_type_kwargs") or {}
    default = stated.get("default") if isinstance(stated, Mapping) and set(stated) == {"default"} else None
    if isinstance(default, Mapping):
        inner = default.get("_data")
        return str(default.get("_type")), inner if isinstance(inner, Mapping) else {}
    raise config.refuse("quant_type", "must be a type name, or one configuration under 'default'")
