"""From a parsed ``config.json`` to a `Model`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from shardproof.instances.errors import InputError, Problem
from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import fold_runs, name_kinds
from shardproof.instances.huggingface.families import FAMILIES, Family, find_family
from shardproof.instances.huggingface.predictors import read_predictors
from shardproof.instances.huggingface.quantization import read_storage
from shardproof.instances.huggingface.schemes import method_of
from shardproof.instances.huggingface.towers import count_tower
from shardproof.instances.model import Model

WRAPPED = ("text_config", "llm_config", "language_config")
OUTER_FIELDS = (
    "quantization_config",
    "torch_dtype",
    "dtype",
    "tie_word_embeddings",
    "vocab_size",
    "spatial_merge_size",
)


def from_config(
    config: Mapping[str, object],
    *,
    name: str,
    source: str,
    origin: str = "config.json",
    quantization: Mapping[str, object] | None = None,
) -> Model:
    """Read a model from a Hugging Face config.

    ``origin`` is the file named in errors; ``quantization`` the contents of a separate
    ``hf_quant_config.json``, for checkpoints that carry one.

    Raises
    ------
    InputError
        If the architecture or the quantisation method is not understood, or a field is missing or malformed.
    """
    outer = Config(fields=config, where=origin)
    architectures = outer.words("architectures") or ()
    text = _text_config(outer)
    family = find_family(text, architectures)
    text, notes = _with_defaults(text, family)
    try:
        return _assemble(text, family, name=name, source=source, notes=notes, quantization=quantization)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        problem = Problem(where=origin, field=field, value=repr(first["input"])[:80], remedy=first["msg"])
        raise InputError([problem]) from None


HEADS = frozenset(
    {"LlamaForCausalLMEagle", "LlamaForCausalLMEagle3", "EagleLlamaForCausalLM", "Eagle3LlamaForCausalLM"}
)
"""Architectures of EAGLE heads with a layer of Llama: what speculative decoding guesses with, no models."""


def as_head(config: Mapping[str, object]) -> dict[str, object]:
    """Return the config of an EAGLE head as that of a model of its one layer; any other config as it is."""
    named = config.get("architectures")
    head = isinstance(named, list) and any(name in HEADS for name in named)
    return {**config, "architectures": ["LlamaForCausalLM"]} if head else dict(config)


def _text_config(outer: Config) -> Config:
    for name in WRAPPED:
        inner = outer.section(name)
        if inner:
            kept = {field: outer.fields[field] for field in OUTER_FIELDS if field in outer.fields}
            merged = {**kept, **{key: value for key, value in inner.items() if value is not None}}
            merged.setdefault("model_type", _inner_type(outer))
            merged["vision_config"] = outer.fields.get("vision_config")
            return Config(fields=merged, where=outer.where)
    return outer


def _inner_type(outer: Config) -> str | None:
    """Return the type of a text config that names none: that of its wrapper, as text where that is known."""
    wrapper = outer.word("model_type")
    known = {kind for family in FAMILIES for kind in family.model_types}
    return f"{wrapper}_text" if f"{wrapper}_text" in known else wrapper


def _with_defaults(text: Config, family: Family) -> tuple[Config, tuple[str, ...]]:
    missing = {field: value for field, value in family.defaults.items() if text.fields.get(field) is None}
    notes = tuple(
        f"{field} is not in the file; the class default {value} is used"
        for field, value in missing.items()
        if not isinstance(value, bool)
    )
    return Config(fields={**text.fields, **missing}, where=text.where), notes


def _assemble(
    config: Config,
    family: Family,
    *,
    name: str,
    source: str,
    notes: tuple[str, ...],
    quantization: Mapping[str, object] | None,
) -> Model:
    decoder = family.read(config)
    extra, said = count_tower(config)
    storage = read_storage(config, decoder.layers, quantization)
    kinds, order = name_kinds(storage.layers)
    predictors, modules = read_predictors(config, family, storage.layers, storage.formats, quantization)
    return Model(
        name=name,
        family=config.word("model_type") or family.model_types[0],
        source=source,
        hidden=config.hidden,
        vocab=config.optional_integer("draft_vocab_size") or config.integer("vocab_size"),
        tied=config.flag("tie_word_embeddings", default=False),
        max_position=_positions(config),
        kinds=kinds,
        runs=fold_runs(order),
        final_norm_parameters=decoder.final_norm_parameters,
        extra_parameters=extra,
        formats=storage.formats,
        kv_dtype=decoder.kv_dtype or storage.kv_dtype,
        residual_streams=decoder.residual_streams,
        quant_method=method_of(config, quantization),
        predictors=predictors,
        predictor_modules=modules,
        notes=(*notes, *storage.notes, *said, *_left_out(modules)),
    )


def _positions(config: Config) -> int:
    """Return the longest context: as stated, or what YaRN makes of the original one where that is more.

    As vLLM derives it (``config/model.py``, ``_get_and_verify_max_len``).
    """
    stated = config.integer("max_position_embeddings")
    scaling = config.section("rope_scaling") or config.section("rope_parameters") or {}
    rope = Config(fields=scaling, where=f"{config.where}: rope_scaling")
    if "yarn" not in (scaling.get("rope_type"), scaling.get("type")):
        return stated
    factor = scaling.get("factor")
    original = rope.optional_integer("original_max_position_embeddings")
    if original is None or isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor <= 4096:
        return stated
    return max(stated, int(original * factor))


def _left_out(modules: int) -> tuple[str, ...]:
    return ("multi-token-prediction layers count with speculative decoding alone",) if modules else ()
