"""Names in documents ("Qwen3-235B", "NVIDIA H100 80GB SXM5") matched to catalogue items, never guessed."""

from __future__ import annotations

import re
from functools import lru_cache

from shardproof.instances.catalogue import aliases, device_names, load_device, load_model, model_names
from shardproof.instances.hardware import Device
from shardproof.instances.model import Model

_NOISE = frozenset(
    {
        "model", "the", "instruct", "chat", "base", "it", "hf", "gpu", "gpus",
        "nvidia", "amd", "intel", "google", "accelerator", "tensor", "core", "with", "x",
        "meta", "llm", "moe", "sxm4", "sxm5", "gb", "gib", "memory", "hbm3",
        "hbm2e", "hbm3e", "hbm", "of", "by", "version", "server", "e", "and",
    }
)  # fmt: skip
_DTYPE = {"fp8", "bf16", "fp16", "mxfp4", "nvfp4", "int4", "int8", "awq", "gptq"}


def _tokens(name: str) -> frozenset[str]:
    name = re.sub(r"(?i)[- _]?(?:fp8|bf16|fp16|mxfp4|nvfp4|int4|int8|awq|gptq)\b", " ", name)
    lower = re.sub(r"\([^)]*\)", " ", name.lower().rsplit("/", 1)[-1])
    lower = re.sub(r"(?<![a-z])v(?=\d)", "", re.sub(r"sxm\d", "sxm", lower))
    return frozenset(re.findall(r"[a-z]+|\d+(?:\.\d+)?[a-z]*", re.sub(r"(?<=[a-z])(?=\d)", " ", lower))) - _NOISE


def find_model(name: str, precision: str | None) -> Model | None:
    """Return the catalogue model that a name means, the checkpoint in ``precision`` where there are several."""
    slug = find_slug(name[:100], precision)
    return _model(slug) if slug else None


@lru_cache(maxsize=64)
def _model(slug: str) -> Model:
    return load_model(slug)


@lru_cache(maxsize=1)
def _known() -> dict[str, frozenset[str]]:
    return {slug: _tokens(slug) for slug in model_names()}


@lru_cache(maxsize=1)
def _aliases() -> dict[str, str]:
    return {alias.lower(): slug for alias, slug in aliases("models").items()}


@lru_cache(maxsize=1024)
def find_slug(name: str, precision: str | None) -> str | None:
    """Return the name in the catalogue."""
    exact = name.strip().lower()
    if exact in _known() and (precision is None or precision in exact):
        return exact
    wanted = _tokens(name)
    matches = [slug for slug, tokens in _known().items() if wanted <= tokens]
    telling = any(token[0].isdigit() for token in wanted) and any(
        len(token) > 2 and token.isalpha() for token in wanted
    )
    if not matches or not telling:
        return _aliases().get(exact)
    told = precision or next((dtype for dtype in _DTYPE if dtype in exact), None)
    least = min(len(_known()[slug]) for slug in matches)
    closest = [slug for slug in matches if len(_known()[slug]) == least]
    suffixed = [slug for slug in closest if told and slug.endswith(f"-{told}")]
    plain = [slug for slug in closest if not any(slug.endswith(f"-{dtype}") for dtype in _DTYPE)]
    picked = suffixed or plain or closest
    return picked[0] if len({_model(slug).parameters for slug in picked}) == 1 else None


@lru_cache(maxsize=256)
def find_devices(name: str) -> tuple[Device, ...]:
    """Return the catalogue devices that a name may mean; several where the variant is left open."""
    bare = re.sub(r"\b\d+\s*x\s*(?=[a-z])|\bx\s*\d+\s*$|\b\d{2,4}\s*g(?:i?b)?\b", " ", name[:100].lower())
    wanted = _tokens(bare)
    if not wanted:
        return ()
    matches = [slug for slug in device_names() if wanted <= _tokens(slug)]
    if not matches:
        matches = [slug for slug in device_names() if _tokens(slug) - {"sxm"} and _tokens(slug) - {"sxm"} <= wanted]
    devices = tuple(load_device(slug) for slug in matches[:6])
    size = re.search(r"(\d{2,3})\s*gb?\b", name.lower())
    sized = tuple(device for device in devices if size and abs(device.memory / 1e9 - int(size[1])) < 1)
    return sized or devices
