"""The catalogue: models and devices by name, one file each, found by being in the folder.

A model is also found by the Hugging Face id of its checkpoint, or read from a file: a ``config.json``, a
catalogue-style YAML, or a `Model` written out. Loading one item reads that item's file only.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from shardproof.instances.base import Record
from shardproof.instances.errors import InputError
from shardproof.instances.hardware import Device
from shardproof.instances.huggingface import from_config
from shardproof.instances.huggingface.reading import as_head
from shardproof.instances.model import Model
from shardproof.instances.reading import read_mapping, read_text, refuse, validate

FOLDER = Path(__file__).parent / "catalog"
SUFFIXES = (".json", ".yaml", ".yml")
_BETWEEN = re.compile(r"[ _]+")
"""What people write in the place of a name's dashes, as ``nvidia-smi`` does: NVIDIA H100 80GB HBM3."""
FORMAT_WORDS = re.compile(r"(?:-(?:bf16|fp16|fp8|fp4|nvfp4|mxfp4|int4|int8|awq|gptq|w4a16|w8a8|block|dynamic))+$")
"""How the catalogue names a checkpoint of the same weights in another format."""
ALIASES = re.compile(r"^aliases: \[([^\]\n]*)\]$", re.MULTILINE)
"""The aliases of an item stand on one line, so that finding a name parses no file."""


class ModelItem(Record):
    """A catalogue file of a model: its config in Hugging Face vocabulary, and where that comes from.

    Each file stands for one checkpoint; ``aliases`` are other spellings of that checkpoint's id. ``same_as``: the
    catalogue item whose config holds but for the fields under ``config`` (``null`` takes one away).
    ``published_parameters``: what the makers or the checkpoint's index publish, text model only;
    ``extra_parameters``: vision towers and the like, loaded though text never uses them.
    """

    source: str
    aliases: tuple[str, ...] = ()
    same_as: str | None = None
    published_parameters: int | None = None
    extra_parameters: int | None = Field(default=None, ge=0)
    notes: tuple[str, ...] = ()
    config: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_something(self) -> ModelItem:
        if self.same_as is None and not self.config:
            raise ValueError("give config, or same_as with the name of the item that has it")
        return self


def model_names() -> tuple[str, ...]:
    """Names of all catalogue models."""
    return _names("models")


def device_names() -> tuple[str, ...]:
    """Names of all catalogue devices."""
    return _names("devices")


def is_device(name: str) -> bool:
    """Tell whether a name is that of a catalogue device."""
    spellings = _spellings("devices")
    wanted = name.strip().lower()
    return wanted in spellings or _dashed(wanted) in spellings


def is_plain_name(name: str) -> bool:
    """Tell whether a text is a name to look up, not a path."""
    return named_path(name) is None


def unknown_device(name: str) -> InputError:
    """Return the error for a device that is not in the catalogue, with the nearest ones."""
    return _unknown("device", name, _spellings("devices"))


def load_model(name: str) -> Model:
    """Return a model by name, Hugging Face id, or path of a ``config.json`` or YAML file.

    Raises
    ------
    InputError
        If there is none of that name (the nearest are named), or its file is wrong.
    """
    path = named_path(name)
    if path is not None:
        return read_model(path)
    slug = _find("models", name)
    return _read_item(FOLDER / "models" / f"{slug}.yaml", slug)


def siblings(own: Model) -> Iterator[Model]:
    """Yield the catalogue's checkpoints of the same weights in other formats."""
    stem = FORMAT_WORDS.sub("", own.name)
    for name in model_names():
        if name != own.name and FORMAT_WORDS.sub("", name) == stem:
            other = load_model(name)
            alike = (other.layer_count, other.hidden, other.vocab) == (own.layer_count, own.hidden, own.vocab)
            if alike and other.formats != own.formats:
                yield other


def load_device(name: str) -> Device:
    """Return a device by name, or by the path of a YAML file.

    Raises
    ------
    InputError
        If there is none of that name (the nearest are named), or its file is wrong.
    """
    path = named_path(name)
    if path is None:
        path = FOLDER / "devices" / f"{_find('devices', name)}.yaml"
    return _read_device(path, _stamp(path))


def load_draft(name: str) -> Model:
    """Return what speculative decoding guesses with: a model as `load_model` finds it, or the config of an EAGLE head.

    Raises
    ------
    InputError
        If there is none of that name, or its config is not understood.
    """
    path = named_path(name)
    return load_model(name) if path is None else read_model(path, head=True)


def read_model(path: Path, *, head: bool = False) -> Model:
    """Read a model file: ``config.json``, a folder that holds one, a catalogue YAML or a written-out `Model`.

    ``head``: whether it may be the config of an EAGLE head.
    """
    if path.is_dir():
        path = path / "config.json"
    if path.suffix.lower() != ".json":
        tree = read_mapping(path)
        return validate(Model, tree, where=str(path)) if "kinds" in tree else _read_item(path, path.stem)
    tree = read_config(path)
    if "kinds" in tree:
        return validate(Model, tree, where=str(path))
    beside = path.with_name(path.name.replace("config.json", "hf_quant_config.json"))
    separate = read_config(beside) if beside != path and beside.is_file() else None
    name = path.parent.resolve().name if path.name == "config.json" else path.stem.removesuffix("_config")
    tree = as_head(tree) if head else tree
    return from_config(tree, name=name, source=path.name, origin=str(path), quantization=separate)


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON mapping as model makers write them: ``Infinity`` is allowed, duplicate keys are not.

    Raises
    ------
    InputError
        If the file cannot be read or is no JSON mapping.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            names = [key for key, _ in items]
            twice = next(key for key in names if names.count(key) > 1)
            raise refuse(str(path), "stands twice; keep one of them", field=twice)
        return found

    try:
        tree = json.loads(read_text(path), parse_constant=str, object_pairs_hook=pairs)
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise refuse(f"{path}{line}", "is not JSON; give the config.json as it was published") from None
    if not isinstance(tree, dict):
        raise refuse(str(path), "the top level must be a mapping of field names to values")
    return tree


def aliases(kind: str) -> dict[str, str]:
    """Return other names of the items of a kind (``models`` or ``devices``), lower-case, to their own."""
    found = {}
    for slug in _names(kind):
        for alias in _aliases_of(kind, slug):
            found[alias.lower()] = slug
    return found


def _aliases_of(kind: str, slug: str) -> tuple[str, ...]:
    path = FOLDER / kind / f"{slug}.yaml"
    return _read_aliases(path, _stamp(path))


@cache
def _read_aliases(path: Path, stamp: tuple[int, int]) -> tuple[str, ...]:
    """Read the aliases of an item: its first lines are enough, what follows ``config`` is left alone."""
    del stamp
    stated = ALIASES.search(read_text(path))
    names = stated[1].split(",") if stated else ()
    return tuple(name.strip().strip("'\"") for name in names if name.strip())


def published_name(slug: str) -> str:
    """Return the name under which a catalogue model is published; the name itself for any other model."""
    stated = _aliases_of("models", slug) if slug in _names("models") else ()
    return next((alias for alias in stated if "/" in alias), slug)


def _read_item(path: Path, name: str) -> Model:
    return _read_model_item(path, name, _stamp(path))


def _stamp(path: Path) -> tuple[int, int]:
    """Tell versions of a file apart, so that records of the current one alone are shared (0, 0: no file)."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


@cache
def _read_device(path: Path, stamp: tuple[int, int]) -> Device:
    del stamp
    tree = {key: value for key, value in read_mapping(path).items() if key != "aliases"}
    return validate(Device, {"name": path.stem, **tree}, where=_shown(path))


@cache
def _read_model_item(path: Path, name: str, stamp: tuple[int, int]) -> Model:
    del stamp
    where = _shown(path)
    item = _whole_item(path)
    model = from_config(item.config, name=name, source=item.source, origin=f"{where}: config")
    added: Mapping[str, Any] = {
        "published_parameters": item.published_parameters,
        "extra_parameters": item.extra_parameters or model.extra_parameters,
        "notes": tuple(dict.fromkeys((*item.notes, *model.notes))),
    }
    return model.model_copy(update=added)


def _whole_item(path: Path, seen: tuple[str, ...] = ()) -> ModelItem:
    """Read an item with what it takes from another: its own fields win, counts and notes are kept unless stated."""
    item = validate(ModelItem, read_mapping(path), where=_shown(path))
    if item.same_as is None:
        return item
    if item.same_as in seen or item.same_as not in _names("models"):
        raise refuse(_shown(path), "must name another item of the catalogue", field="same_as", value=item.same_as)
    base = _whole_item(FOLDER / "models" / f"{item.same_as}.yaml", (*seen, path.stem))
    config = {key: value for key, value in {**base.config, **item.config}.items() if value is not None}
    kept = {
        name: getattr(base, name)
        for name in ("published_parameters", "extra_parameters", "notes")
        if name not in item.model_fields_set
    }
    return item.model_copy(update={"config": config, "same_as": None, **kept})


def _names(kind: str) -> tuple[str, ...]:
    folder = FOLDER / kind
    found = os.listdir(folder) if folder.is_dir() else ()
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def _shown(path: Path) -> str:
    return f"catalog/{path.parent.name}/{path.name}" if path.is_relative_to(FOLDER) else str(path)


def named_path(name: str) -> Path | None:
    """Return the path that a name is: by its ending or start, or a folder with a config (``None``: no path)."""
    looks_like_one = name.lower().endswith(SUFFIXES) or name.startswith((".", "/", "~", "\\"))
    path = Path(name).expanduser() if looks_like_one else Path(name)
    try:
        if looks_like_one or (path / "config.json").is_file():
            return path
    except (OSError, ValueError):
        pass
    return None


def _find(kind: str, name: str) -> str:
    wanted = name.strip().lower()
    if wanted in _names(kind):
        return wanted
    spellings = _spellings(kind)
    for spelling in (wanted, _dashed(wanted)):
        if spelling in spellings:
            return spellings[spelling]
    raise _unknown(kind.removesuffix("s"), name, spellings)


def _dashed(wanted: str) -> str:
    """Return a bare name with dashes between its words; an organisation's id stands as it is."""
    return wanted if "/" in wanted else _BETWEEN.sub("-", wanted)


def _spellings(kind: str) -> dict[str, str]:
    return {**aliases(kind), **{slug: slug for slug in _names(kind)}}


ALIKE = 0.4
"""Share of equal characters from which on a name of another family may be meant."""


@lru_cache(maxsize=256)
def nearest(kind: str, name: str, *, count: int = 5) -> tuple[str, ...]:
    """Return the items of a kind whose names are nearest: of the same family first, then by edit distance."""
    return _nearest(name.strip().lower()[:100], _spellings(kind), count)


def _nearest(wanted: str, known: Mapping[str, str], count: int) -> tuple[str, ...]:
    tail = wanted.rsplit("/", 1)[-1]
    family = re.match(r"[a-z]*", tail)
    start = family[0] if family else ""

    matcher = difflib.SequenceMatcher(None, b=tail)
    ranked: list[tuple[bool, bool, float, str]] = []
    for spelling in known:
        other = spelling.rsplit("/", 1)[-1]
        inside, related = bool(tail) and tail in other, bool(start) and other.startswith(start)
        matcher.set_seq1(other)
        if inside or related or matcher.quick_ratio() >= ALIKE:
            alike = matcher.ratio()
            if inside or related or alike >= ALIKE:
                ranked.append((not inside, not related, -alike, spelling))
    return tuple(dict.fromkeys(known[item[-1]] for item in sorted(ranked)))[:count]


def _unknown(kind: str, name: str, known: Mapping[str, str]) -> InputError:
    if kind == "device" and "," in name:
        remedy = "names one device; several stand in devices (--devices A,B): one fleet of all of them"
        return refuse("catalogue", remedy, value=name[:80])
    near = _nearest(name.strip().lower()[:100], known, 5)
    hint = f"nearest: {', '.join(near)}; " if near else ""
    file = " or give the path of a config.json" if kind == "model" else " or give the path of a device file"
    return refuse("catalogue", f"unknown {kind}; {hint}see 'shardproof catalog {kind}s'{file}", value=name[:80])
