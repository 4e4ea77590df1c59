"""Hostile changes: to a tree (values, keys, shapes), to text, and to the bytes of archives and databases."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from math import isfinite
from typing import Any

from tests.oracles.fuzzed_documents import mutate

ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    10**39,
    10**400,
    0.1,
    -0.0,
    1e308,
    "",
    " ",
    "x" * 70_000,
    "1e999999999",
    "1e-999999999 s",
    "1e999 s",
    "-3 GB",
    "nan",
    "inf USD/h",
    "0x" + "f" * 4300,
    "64 GB",
    "64",
    "٣ s",
    "\u202eevil",
    "\x1b[2J\x1b]0;title\x07",
    "\udc80".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "../../../etc/passwd",
    "*",
    "[" * 60,
    [],
    [[]],
    {},
    {"a": {"b": [1, {"c": None}]}},
    ["x"] * 3000,
    list(range(5000)),
)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) of a tree."""
    pending = [tree]
    while pending:
        node = pending.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(items):
            yield node, key
            pending.append(value)


def changed(chance: random.Random, tree: Any) -> Any:
    """Return a tree with one to four odd changes, mostly one."""
    made = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        found = list(places(made))
        if not found:
            return chance.choice(ODD_VALUES)
        node, key = chance.choice(found)
        kind = chance.randrange(7)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node[chance.choice(("unknown", "\x1b[31m", "name", "", "model", "x" * 300, str(key)))] = node.pop(key)
        elif kind == 2:
            node[key] = copy.deepcopy(made)
        elif kind == 3:
            other, place = chance.choice(found)
            node[key] = copy.deepcopy(other[place]) if _holds(other, place) else None
        elif kind == 4 and isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        elif kind == 5 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] = _near(chance, node[key])
        else:
            node[key] = copy.deepcopy(chance.choice(ODD_VALUES))
        if len(json.dumps(made, default=str)) > 2_000_000:
            break
    return made


def _holds(node: Any, key: Any) -> bool:
    return key in node if isinstance(node, dict) else key < len(node)


def _near(chance: random.Random, value: float) -> Any:
    whole = int(value) if isinstance(value, int) or isfinite(value) else 1
    return chance.choice((value + 1, value - 1, -value, value * 1000, value // 3, str(value), [value], 10**18 * whole))


def document(chance: random.Random, originals: list[tuple[bytes, str]], trees: list[Any]) -> tuple[bytes, str]:
    """Return a hostile YAML or JSON document and its ending: from a changed tree, or from changed text."""
    if trees and chance.random() < 0.7:
        tree = changed(chance, chance.choice(trees))
        text = json.dumps(tree, default=str, ensure_ascii=chance.random() < 0.5)
        return text.encode("utf-8", "replace"), chance.choice((".json", ".yaml"))
    raw, suffix = chance.choice(originals)
    return mutate(chance, raw), suffix


def binary(chance: random.Random, original: bytes) -> bytes:
    """Return bytes with flips, cuts, repeats or stretches of noise."""
    raw = bytearray(original)
    kind = chance.randrange(5)
    if kind == 0:
        return bytes(raw[: chance.randrange(len(raw) + 1)])
    if kind == 1:
        at = chance.randrange(len(raw) + 1)
        return bytes(raw[:at]) + chance.randbytes(chance.randrange(300)) + bytes(raw[at:])
    if kind == 2:
        at, size = chance.randrange(len(raw) + 1), chance.randrange(200)
        return bytes(raw[:at]) + bytes(raw[at : at + size]) * chance.randrange(2, 20) + bytes(raw[at:])
    for _ in range(chance.choice((1, 2, 8, 64))):
        raw[chance.randrange(len(raw))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
    return bytes(raw)
