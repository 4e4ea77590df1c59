"""What a reader under test is, what it may refuse with, and how hostile files are made for it."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.fuzz.mutations import ODD_VALUES, binary, changed, document, places
from shardproof.instances.errors import CheckFailed, InputError

REFUSALS = (InputError, CheckFailed, click.ClickException)
"""What a reader may answer with besides a value."""

Content = tuple[bytes, str]
Make = Callable[[random.Random], Content]


@dataclass(frozen=True)
class Reader:
    """A reader under test: ``make`` gives hostile bytes and an ending, ``read`` reads the file of that content.

    ``names_file``: whether a refusal has to name the file. ``family``: which kind of input it belongs to.
    """

    name: str
    family: str
    make: Make
    read: Callable[[Path], object]
    names_file: bool = True


def from_files(*folders: Path, pattern: str = "*.yaml") -> Make:
    """Return what makes hostile documents of those in some folders."""
    paths = [path for folder in folders for path in sorted(folder.rglob(pattern))]
    originals = [(path.read_bytes(), path.suffix) for path in paths]
    trees = [yaml.safe_load(raw) for raw, suffix in originals if suffix in (".yaml", ".json")]
    return lambda chance: document(chance, originals, trees)


def from_trees(trees: Sequence[Any], *, noise: float = 0.0, suffix: str | None = None) -> Make:
    """Return what makes hostile documents of trees; ``noise``: the share whose bytes are changed too."""
    texts = [(yaml.safe_dump(tree).encode(), ".yaml") for tree in trees]

    def make(chance: random.Random) -> Content:
        if chance.random() < 0.3:
            return json.dumps(nudged(chance, chance.choice(trees), ODD_VALUES)).encode(), suffix or ".json"
        raw, ending = document(chance, texts, list(trees))
        if suffix == ".json" and not raw.lstrip().startswith((b"{", b"[")):
            raw = json.dumps(changed(chance, chance.choice(trees)), default=str).encode("utf-8", "replace")
        return (binary(chance, raw) if chance.random() < noise else raw), suffix or ending

    return make


def nudged(chance: random.Random, tree: Any, odd: Sequence[Any]) -> Any:
    """Return a tree with one to three plain values replaced by odd ones that may be valid."""
    made = json.loads(json.dumps(tree))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        found = [place for place in places(made) if not isinstance(place[0][place[1]], dict | list)]
        if not found:
            break
        node, key = chance.choice(found)
        node[key] = mild(chance, node[key]) if chance.random() < 0.6 else copy.deepcopy(chance.choice(odd))
    return made


_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def mild(chance: random.Random, value: Any) -> Any:
    """Return a value of the same kind that may well be valid: another number, in the same unit."""
    factor = chance.choice((0.01, 0.3, 0.9, 1.1, 2, 3, 64, 1000))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float) and abs(value) > 10**15:
        return value // 1000
    if isinstance(value, int | float):
        return chance.choice((1, 2, 3, value + 1, value * 2, max(1, int(value * factor))))
    if isinstance(value, str):
        return _NUMBER.sub(lambda found: f"{float(found[0]) * factor:g}", value, count=1)
    return value
