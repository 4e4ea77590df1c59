"""Names in documents ("Qwen3-235B", "NVIDIA H100 80GB SXM5") matched to catalogue items, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
_DTYPE = {"fp8": "fp8", "bf16": "bf16", "fp16": "fp16", "mxfp4": "mxfp4", "nvfp4": "nvfp4", "fp4": "nvfp4",
          "int4": "int4", "int8": "int8", "awq": "int4", "gptq": "int4", "w4a16": "int4", "w8a8": "int8"}  # fmt: skip
"""Words in names that say how a checkpoint is stored, and the dtype of its linear layers."""

_SIZE = re.compile(r"a?\d+(?:\.\d+)?[bme]")
"""Sizes (235b, a22b, 128e): a name may leave them out as long as one model alone is meant."""

_TUNED = re.compile(r"(?i)(?<![a-z])(?:instruct|chat|it)(?![a-z])")
_MARK = re.compile(rf"(?i)(?<![a-z0-9])(?:{'|'.join(_DTYPE)})(?![a-z])")
_ID = re.compile(r"[\w.-]+/[\w.-]+")


def _tokens(name: str) -> frozenset[str]:
    name = re.sub(r"(?i)[- _]?(?:fp8|bf16|fp16|mxfp4|nvfp4|fp4|int4|int8|awq|gptq)\b", " ", name)
    lower = re.sub(r"\([^)]*\)", " ", name.lower().rsplit("/", 1)[-1])
    lower = re.sub(r"(?<![a-z])v(?=\d)", "", re.sub(r"sxm\d", "sxm", lower))
    return frozenset(re.findall(r"[a-z]+|\d+(?:\.\d+)?[a-z]*", re.sub(r"(?<=[a-z])(?=\d)", " ", lower))) - _NOISE


def find_model(name: str, precision: str | None) -> Model | None:
    """Return the catalogue model that a name means, the checkpoint in ``precision`` where there are several."""
    slug = find_slug(name[:100], precision)
    return _model(slug) if slug else None


@lru_cache(maxsize=256)
def _model(slug: str) -> Model:
    return load_model(slug)


@dataclass(frozen=True)
class _Entry:
    """A catalogue item as names are matched: its words, and whether its name says how it is tuned and stored."""

    slug: str
    words: frozenset[str]
    tuned: bool
    marked: bool

    @property
    def dtype(self) -> str:
        """The dtype of most of its weights."""
        model = _model(self.slug)
        routed = any(layer.feed_forward.kind == "moe" for layer in model.kinds.values())
        return model.formats.experts.dtype if routed else model.formats.dense_ffn.dtype


@lru_cache(maxsize=1)
def _entries() -> tuple[_Entry, ...]:
    return tuple(
        _Entry(slug, _tokens(slug), bool(_TUNED.search(slug)), bool(_MARK.search(slug))) for slug in model_names()
    )


@lru_cache(maxsize=1)
def _spelt() -> dict[str, str]:
    """Every spelling that stands for one checkpoint: names, ids, and ids without their organisation."""
    found = {alias.lower(): slug for alias, slug in aliases("models").items()}
    tails: dict[str, set[str]] = {}
    for alias, slug in found.items():
        tails.setdefault(alias.rsplit("/", 1)[-1], set()).add(slug)
    own = {slug: slug for slug in model_names()}
    return {**{tail: next(iter(slugs)) for tail, slugs in tails.items() if len(slugs) == 1}, **found, **own}


@lru_cache(maxsize=4096)
def find_slug(name: str, precision: str | None) -> str | None:
    """Return the name in the catalogue; ``None`` for what it does not hold: an id is never taken for another one.

    An id (``organisation/name``) stands for its checkpoint alone. A name in words may leave out sizes as long as one
    model is meant, and finds the checkpoint stored in ``precision`` where it names none itself.
    """
    exact = name.strip().lower()
    known = _spelt().get(exact)
    if _ID.fullmatch(exact):
        return known
    if known is not None and (precision is None or _MARK.search(exact)):
        return known
    found = _matching(exact if known is None else known)
    mark = _MARK.search(exact)
    if mark is not None:
        wanted = _DTYPE[mark[0]]
        return _only([entry for entry in found if entry.dtype == wanted])
    plain = [entry for entry in found if not entry.marked]
    stored = [entry for entry in found if precision is not None and entry.dtype == precision]
    return _only(stored) or known or _only(plain)


def _matching(name: str) -> list[_Entry]:
    """Entries whose words are those of a name but for sizes, tuned as the name says where there are both."""
    wanted = _tokens(name)
    telling = any(word[0].isdigit() for word in wanted) and any(len(word) > 2 and word.isalpha() for word in wanted)
    if not telling:
        return []
    found = [
        entry for entry in _entries()
        if wanted <= entry.words and all(_SIZE.fullmatch(word) for word in entry.words - wanted)
    ]  # fmt: skip
    least = min((len(entry.words) for entry in found), default=0)
    found = [entry for entry in found if len(entry.words) == least]
    tuned = bool(_TUNED.search(name))
    return [entry for entry in found if entry.tuned == tuned] or found


def _only(found: list[_Entry]) -> str | None:
    """The one entry that is meant, or the plainest of several that differ in nothing but their name."""
    if not found:
        return None
    models = [_model(entry.slug) for entry in found]
    alike = len({(model.parameters, model.formats, model.kv_dtype, model.max_position) for model in models}) == 1
    return min((entry.slug for entry in found), key=len) if alike else None


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
