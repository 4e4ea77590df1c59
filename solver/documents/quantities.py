"""Numbers in running text: ``40.3 GB``, ``1.8TBps``, ``235B``, ``[128, 10240]``, ``62.9%``, ``29.3 s``.

A quantity keeps how it was printed, because a claim is held to the digits that its author printed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>-(?=\d))?"
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d{1,12})?|\d{1,18}(?:\.\d{1,12})?(?:[eE][+-]?\d{1,2}(?![\w.]))?)"
    r"(?P<gap> {0,2})(?P<unit>[A-Za-z$%€/*^]{1,14})?"
)

DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12, "P": 10**15}
BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40, "PI": 2**50}

_BYTES = re.compile(r"([KMGTP]I?)?B(?:YTES?)?|([KMGTP])(?:IG|ILO|EGA|ERA)?BYTES?")
_RATE = re.compile(r"([KMGTP]I?)?(B|b|bit|BIT|bits|byte|bytes)(?:/s|ps|/sec|/second)")
_FLOPS = re.compile(r"([KMGTP])?(?:FLOPS?|OPS|FLOP/S|FLOPS/S|FLOP/SEC|FLOPS?/S)")
_SECONDS = {
    "s": Fraction(1), "sec": Fraction(1), "secs": Fraction(1), "second": Fraction(1), "seconds": Fraction(1),
    "ms": Fraction(1, 10**3), "msec": Fraction(1, 10**3), "millisecond": Fraction(1, 10**3),
    "milliseconds": Fraction(1, 10**3), "us": Fraction(1, 10**6), "usec": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9), "min": Fraction(60), "mins": Fraction(60), "minute": Fraction(60),
    "minutes": Fraction(60),
}  # fmt: skip
_PRICES = frozenset({
    "usd", "dollar", "dollars", "$", "usd/h", "usd/hr", "usd/hour", "$/h", "$/hr", "$/hour", "/h", "/hr", "/hour",
})  # fmt: skip
_COUNTS = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "bn": 10**9, "Bn": 10**9, "T": 10**12}
_COUNT_WORDS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


@dataclass(frozen=True)
class Quantity:
    """A number as printed: ``value`` and ``half`` (half of its last digit) in base units.

    ``dimension``: ``count``, ``bytes``, ``rate``, ``flops``, ``time``, ``ratio`` or ``price``.
    ``loose`` readings differ: ``235B`` may be a count or bytes; both are offered.
    """

    value: Fraction
    half: Fraction
    scale: Fraction
    unit: str
    dimension: str
    digits: int
    start: int
    end: int


@lru_cache(maxsize=4096)
def unit_of(text: str) -> tuple[tuple[str, Fraction], ...]:
    """Return every (dimension, size in base units) that a unit may stand for."""
    found: list[tuple[str, Fraction]] = []
    if text in _COUNTS:
        found.append(("count", Fraction(_COUNTS[text])))
    lower, upper = text.lower(), text.upper()
    if lower in _COUNT_WORDS:
        found.append(("count", Fraction(_COUNT_WORDS[lower])))
    if lower in _SECONDS and text not in ("S", "MS", "NS"):
        found.append(("time", _SECONDS[lower]))
    if text == "%" or lower in ("percent", "pct"):
        found.append(("ratio", Fraction(1, 100)))
    if match := _RATE.fullmatch(text[:1].upper() + text[1:] if len(text) > 3 else text):
        bits = match[2] in ("b", "bit", "BIT", "bits")
        size = Fraction({**DECIMAL, **BINARY}[(match[1] or "").upper()])
        found.append(("rate", size / 8 if bits else size))
    elif match := _BYTES.fullmatch(upper):
        prefix = match[1] or match[2] or ""
        found.append(("bytes", Fraction({**DECIMAL, **BINARY}[prefix])))
    elif text in ("G", "M"):
        found.append(("bytes", Fraction(DECIMAL[text])))
    if match := _FLOPS.fullmatch(upper):
        found.append(("flops", Fraction(DECIMAL[match[1] or ""])))
    if lower in _PRICES:
        found.append(("price", Fraction(1)))
    return tuple(found)


def quantities(text: str, *, assumed_unit: str = "") -> tuple[Quantity, ...]:
    """Return every reading of every number in a text, in order; ``assumed_unit`` is that of bare numbers."""
    found: list[Quantity] = []
    for match in _NUMBER.finditer(text):
        printed = match["number"].replace(",", "")
        number = Fraction(Decimal(printed)) * (-1 if match["sign"] else 1)
        half = _half(printed)
        unit = (match["unit"] or "").rstrip("/*^")
        readings = unit_of(unit)
        if not readings and "/" in unit:
            head = unit.partition("/")[0]
            readings, unit = (unit_of(head), head) if head else ((), "")
        if match["gap"] and unit in ("K", "k", "T", "B", "M") and len(match["gap"]) > 1:
            readings = ()
        if text[max(0, match.start() - 2) : match.start()].strip() == "$":
            readings, unit = (("price", Fraction(1)),), "USD"
        if not readings:
            readings, unit = (unit_of(assumed_unit), assumed_unit) if assumed_unit else ((), "")
            readings = readings or (("count", Fraction(1)),)
        end = match.end("unit") if unit and match["unit"] else match.end("number")
        digits = len(printed.split("e")[0].split("E")[0].replace(".", "").lstrip("0"))
        found += [
            Quantity(number * size, half * size, size, unit, dimension, digits, match.start(), end)
            for dimension, size in readings
        ]
    return tuple(found)


def _half(printed: str) -> Fraction:
    """Half a unit of the last printed digit."""
    mantissa, _, exponent = printed.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return Fraction(1, 2) * Fraction(10) ** (int(exponent or 0) - decimals)


def find(text: str, dimension: str, *, assumed_unit: str = "") -> Quantity | None:
    """Return the first quantity of a dimension."""
    found = quantities(text, assumed_unit=assumed_unit)
    return next((quantity for quantity in found if quantity.dimension == dimension), None)


def told_behind(text: str, place: int, dimension: str) -> tuple[Quantity, Quantity] | None:
    """Return the quantity right behind a place, placed from there and in the whole text (``None``: none is)."""
    found = find(text[place : place + 40], dimension)
    if found is None or found.start > 1:
        return None
    return found, replace(found, start=found.start + place, end=found.end + place)
