"""Doubt: an interval about a prediction from the residuals of measurements that were held out of the fit.

Split conformal prediction: among n held-out residuals of the same kind, the ceil((n + 1) level)-th smallest
bounds a new one with probability of at least ``level`` if both come from the same source. Residuals are kept by
engine, and by device with the engine's quantiles times how wide the device's own residuals are; for devices that
were not measured under an engine, those of devices held out whole; apart for models that were measured under the
engine (``known``) and for those that were not (``unseen``). The narrowest group speaks at every level, so a higher
level is never narrower.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from math import exp
from pathlib import Path
from typing import Literal

from shardproof import instances
from shardproof.instances.base import Record
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.reading import read_mapping, validate

FILE = Path(instances.__file__).parent / "catalog" / "serving" / "confidence.json"
FIRST_TOKEN_FILE = FILE.with_name("first_token_confidence.json")
ANY = "any"
Standing = Literal["known", "unseen"]


class Residuals(Record):
    """Quantiles of held-out residuals, log(measured / predicted), of one kind of prediction.

    ``count`` rows of ``clusters`` layouts (or models or devices, where these were held out);
    ``absolute``: of their absolute value; ``upper``: of the residual itself, at the catalogue's levels.
    """

    count: int
    clusters: int
    absolute: tuple[float, ...]
    upper: tuple[float, ...]


class ConfidenceCatalogue(Record):
    """The catalogue file: ``quantities`` maps quantity, standing and ``engine|device`` to residuals."""

    source: str
    levels: tuple[float, ...]
    quantities: dict[str, dict[Standing, dict[str, Residuals]]]


@dataclass(frozen=True)
class Interval:
    """Bounds of a value, and what stands behind them: ``count`` residuals of ``group`` at ``level``."""

    low: float
    high: float
    level: float
    group: str
    standing: Standing
    count: int


@lru_cache(maxsize=1)
def load_confidence() -> ConfidenceCatalogue:
    """Read the catalogue files once: of tokens, and of first tokens."""
    found = validate(ConfidenceCatalogue, read_mapping(FILE), where="catalogue: serving/confidence.json")
    first = read_mapping(FIRST_TOKEN_FILE)
    firsts = validate(ConfidenceCatalogue, first, where="catalogue: serving/first_token_confidence.json")
    return found.model_copy(update={"quantities": found.quantities | firsts.quantities})


def parse_level(text: str) -> float:
    """Read a level written as ``90%`` or ``0.9``.

    Raises
    ------
    InputError
        If it is no level that held-out residuals support.
    """
    levels = load_confidence().levels
    try:
        level = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        level = -1.0
    if not levels[0] <= level <= levels[-1]:
        remedy = f"write a level from {levels[0]:.0%} to {levels[-1]:.0%}, for example 90%"
        raise InputError([Problem(where="command line", field="--confidence", value=text, remedy=remedy)])
    return level


def interval(
    prediction: float, level: float, *, engine: str, device: str, quantity: str = "tpot", known: bool = True
) -> Interval:
    """Return the two-sided interval about a prediction, in the prediction's unit."""
    group, standing, residuals = find_residuals(engine=engine, device=device, quantity=quantity, known=known)
    width = _quantile(residuals.absolute, level)
    return Interval(prediction * exp(-width), prediction * exp(width), level, group, standing, residuals.count)


def upper_bound(
    prediction: float, level: float, *, engine: str, device: str, quantity: str = "tpot", known: bool = True
) -> float:
    """Return the value that the measurement stays below with probability ``level``: what a plan is held to."""
    _, _, residuals = find_residuals(engine=engine, device=device, quantity=quantity, known=known)
    return prediction * exp(_quantile(residuals.upper, level))


def find_residuals(*, engine: str, device: str, quantity: str, known: bool) -> tuple[str, Standing, Residuals]:
    """Return the residuals of the narrowest group that is kept."""
    group, residuals = _groups(engine=engine, device=device, quantity=quantity, known=known)[0]
    return group, "known" if known else "unseen", residuals


def _groups(*, engine: str, device: str, quantity: str, known: bool) -> list[tuple[str, Residuals]]:
    """Return the groups that hold a device and engine, narrowest first."""
    groups = load_confidence().quantities[quantity]["known" if known else "unseen"]
    names = (f"{engine}|{device}", f"{engine}|{ANY}", f"{ANY}|{ANY}")
    return [(name, groups[name]) for name in names if name in groups]


def _quantile(values: tuple[float, ...], level: float) -> float:
    """Interpolate between the catalogue's levels."""
    levels = load_confidence().levels
    place = min(max(bisect_left(levels, level), 1), len(levels) - 1)
    low, high = levels[place - 1], levels[place]
    share = (level - low) / (high - low)
    return values[place - 1] + share * (values[place] - values[place - 1])
