"""What an option that is no field of the question may be: whole numbers, shares and words within limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shardproof.instances.errors import InputError

WHOLE: dict[str, tuple[int, int]] = {
    "workers": (1, 256),
    "seed": (0, 2**31 - 1),
    "processes": (1, 4096),
    "port": (0, 65535),
    "points": (1, 1000),
    "experts": (1, 4096),
    "layers": (1, 1000),
    "ranks": (1, 4096),
    "redundant": (0, 100_000),
    "groups": (1, 64),
    "nodes": (1, 4096),
    "folds": (0, 20),
    "num_requests": (1, 10**7),
    "seeds": (1, 100),
    "top": (1, 10**6),
}
"""Smallest and largest value of each whole number."""

WORDS: dict[str, tuple[str, ...]] = {
    "search": ("auto", "both", "cp-sat"),
    "serve": ("average", "worst"),
    "split": ("even", "free"),
    "router": ("random", "round-robin", "least-loaded"),
    "formats": ("csv", "json", "parquet"),
}
"""Words that an option, or each of its items, may be."""


def check_options(function: str, options: Mapping[str, Any]) -> None:
    """Refuse options out of their limits; ``None`` and whatever stands in no list is left to others.

    Raises
    ------
    InputError
        With the function, the option, its value and what it may be.
    """
    for name, value in options.items():
        if value is None:
            continue
        if name in WHOLE:
            low, high = WHOLE[name]
            whole = isinstance(value, int) and not isinstance(value, bool)
            _need(whole and low <= value <= high, function, name, value, f"a whole number from {low} to {high}")
        elif name in WORDS:
            for word in (value,) if isinstance(value, str) else value:
                _need(word in WORDS[name], function, name, word, f"one of {', '.join(WORDS[name])}")


def _need(holds: bool, function: str, name: str, value: object, words: str) -> None:
    if not holds:
        raise InputError(f"{function}: {name}: {value!r}: write {words}")
