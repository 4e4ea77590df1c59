"""One measured run, whatever tool wrote it, and what is a number in a tool's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIGURES = ("ttft", "tpot", "itl", "e2e")


@dataclass(frozen=True)
class Measured:
    """One measured run: ``figures[name][at]``, ms, ``at`` being mean, p50, p90 ...; rates by name, per second.

    ``concurrency`` and ``rate``: what was sent, where the file says so.
    """

    tool: str
    figures: Mapping[str, Mapping[str, float]]
    rates: Mapping[str, float]
    completed: int | None = None
    failed: int = 0
    concurrency: int | None = None
    rate: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None


LARGEST = 1e15
"""Beyond this no tool measured anything: 30,000 years in ms."""


def number(value: object) -> float | None:
    """Return a number that may be measured; ``None`` for whatever else a tool writes in its place."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        return None
    return float(value)


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping; an empty one for whatever else stands in its place."""
    return value if isinstance(value, Mapping) else {}


def whole(value: object) -> int | None:
    """Return a number cut to a whole one."""
    found = number(value)
    return None if found is None else int(found)


def rates(requests: object, tokens: object) -> dict[str, float]:
    """Return requests and output tokens per second by name."""
    pairs = (("requests_per_s", number(requests)), ("output_tokens_per_s", number(tokens)))
    return {name: value for name, value in pairs if value is not None}
