"""Numbers that come from outside, read exactly and within limits: the one place that turns text into numbers.

Without limits ``1e999999999`` is an exact integer of a billion digits, and Python's own conversions take time
quadratic in the digits. What is longer or larger than any quantity of this project is refused before it is converted.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

MAX_TEXT = 60
"""Characters of one number."""
MAX_EXPONENT = 40
"""Largest power of ten, up or down, that a number may have."""

_DECIMAL = re.compile(r"[+-]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE]([+-]?[0-9]{1,9}))?")
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)")
_RATIO = re.compile(r"([+-]?[0-9]+)/([0-9]+)")


def exact(text: str) -> Fraction:
    """Read a decimal number, or a ratio such as ``3/5``, exactly.

    Raises
    ------
    ValueError
        If it is no finite number, is longer than `MAX_TEXT` characters, or beyond ten to the `MAX_EXPONENT`.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"has more than {MAX_TEXT} characters; write a shorter number")
    ratio = _RATIO.fullmatch(text)
    if ratio is not None:
        if not int(ratio[2]):
            raise ValueError("divides by zero")
        return Fraction(int(ratio[1]), int(ratio[2]))
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError("is no finite number")
    if match[1] is not None and abs(int(match[1])) > MAX_EXPONENT:
        raise ValueError(f"is beyond ten to the power of {MAX_EXPONENT}")
    return Fraction(Decimal(text.replace("_", "")))


def decimal(text: str) -> Decimal:
    """Read a decimal number as `Decimal`; `ValueError` as for `exact`."""
    exact(text)
    return Decimal(text.strip().replace("_", ""))


def integer(text: str) -> int:
    """Read a whole number, decimal without leading zeros or with the prefix ``0x``, ``0o`` or ``0b``.

    Raises
    ------
    ValueError
        If it is none, or longer than `MAX_TEXT` characters.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise ValueError(f"has more than {MAX_TEXT} characters; write a shorter number")
    if _INTEGER.fullmatch(text) is None:
        raise ValueError("is no whole number")
    return int(text.replace("_", ""), 0)
