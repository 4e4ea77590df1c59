"""Quantities with units: the one module that turns ``64 GB``, ``1.8 TB/s`` or ``30 s`` into integers.

Base units: bytes, bytes per second, FLOP per second, nanoseconds, US dollars per hour. Text is read as an
exact decimal. What is no whole number of base units is rounded to the side that is safe for its use:
capacities, rates and limits down, demands (reserves, latencies) up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from shardproof.instances.numbers import MAX_TEXT, exact

Dimension = Literal["bytes", "bytes per second", "FLOP per second", "duration", "price per hour"]

_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}


def _scaled(suffixes: Mapping[str, Fraction], prefixes: Mapping[str, int]) -> dict[str, Fraction]:
    return {
        prefix + suffix: scale * factor for suffix, factor in suffixes.items() for prefix, scale in prefixes.items()
    }


_ONE, _BIT = Fraction(1), Fraction(1, 8)
_SECOND = Fraction(10**9)

UNITS: dict[Dimension, dict[str, Fraction]] = {
    "bytes": _scaled({"B": _ONE}, _DECIMAL | _BINARY),
    "bytes per second": _scaled({"B/s": _ONE, "Bps": _ONE, "b/s": _BIT, "bps": _BIT, "bit/s": _BIT}, _DECIMAL)
    | _scaled({"B/s": _ONE}, _BINARY),
    "FLOP per second": _scaled({"FLOPS": _ONE, "FLOP/s": _ONE, "Flops": _ONE, "OPS": _ONE}, _DECIMAL),
    "duration": {
        "ns": _ONE,
        "us": _ONE * 1000,
        "µs": _ONE * 1000,
        "ms": _ONE * 10**6,
        "s": _SECOND,
        "sec": _SECOND,
        "seconds": _SECOND,
        "min": _SECOND * 60,
        "h": _SECOND * 3600,
    },
    "price per hour": {"USD/h": _ONE, "$/h": _ONE, "USD/hour": _ONE},
}

EXAMPLES: dict[Dimension, str] = {
    "bytes": "'64 GB' or '80 GiB'",
    "bytes per second": "'1.8 TB/s' or '400 Gb/s'",
    "FLOP per second": "'400 TFLOPS'",
    "duration": "'30 s' or '50 ms'",
    "price per hour": "'1.69 USD/h'",
}

_QUANTITY = re.compile(r"\s*([+-]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?)\s*([A-Za-zµ$%/]*)\s*")

LARGEST: dict[Dimension, int] = {
    "bytes": 10**18,
    "bytes per second": 10**18,
    "FLOP per second": 10**24,
    "duration": 10**18,
    "price per hour": 10**12,
}
"""Largest value of each dimension, in base units: an exabyte, 31 years, a trillion dollars an hour."""


def parse_quantity(text: str, dimension: Dimension) -> Fraction:
    """Read a number with its unit as an exact multiple of the base unit.

    Raises
    ------
    ValueError
        If the text is no quantity of that dimension; the message is the remedy.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= MAX_TEXT else None
    if match is None:
        raise ValueError(f"is not a quantity; write for example {EXAMPLES[dimension]}")
    number, unit = match.groups()
    if not unit:
        raise ValueError(f"has no unit; write for example {EXAMPLES[dimension]}")
    units = UNITS[dimension]
    if unit not in units:
        raise ValueError(f"has no known unit of {dimension}; write for example {EXAMPLES[dimension]}")
    try:
        value = exact(number) * units[unit]
    except ValueError as error:
        raise ValueError(f"{error}; write for example {EXAMPLES[dimension]}") from None
    if abs(value) > LARGEST[dimension]:
        raise ValueError(f"is out of range; the largest {dimension} is {write_largest(dimension)}")
    return value


def write_largest(dimension: Dimension) -> str:
    """Write the largest quantity of a dimension for a message."""
    if dimension == "price per hour":
        return f"{LARGEST[dimension]:g} USD/h"
    return write_quantity(LARGEST[dimension], dimension)


def parse_ratio(value: object) -> Fraction:
    """Read a ratio written as ``0.6``, ``60%`` or ``3/5``.

    Raises
    ------
    ValueError
        If the value is no ratio.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ValueError("is not a ratio; write for example 0.6 or '60%'")
    try:
        text = str(value).strip()
        return exact(text[:-1]) / 100 if text.endswith("%") else exact(text)
    except ValueError:
        raise ValueError("is not a ratio; write for example 0.6 or '60%'") from None


def floor(value: Fraction) -> int:
    """Round down to a whole number."""
    return value.numerator // value.denominator


def ceiling(value: Fraction) -> int:
    """Round up to a whole number."""
    return -(-value.numerator // value.denominator)


def format_bytes(count: int) -> str:
    """Bytes for people: decimal units, one decimal."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def format_gpus(count: int) -> str:
    """GPUs for people: in the singular for one."""
    return "1 GPU" if count == 1 else f"{count} GPUs"


def format_duration(nanoseconds: int) -> str:
    """Durations for people: the largest fitting unit, three or four digits."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.2f} {unit}"
    return f"{nanoseconds} ns"


def write_quantity(value: int, dimension: Dimension) -> str:
    """Write an integer of base units as text that reads back to the same integer."""
    base = {"bytes": "B", "bytes per second": "B/s", "FLOP per second": "FLOPS", "duration": "ns"}
    preferred = {"duration": ("s", "ms", "us")}.get(dimension, tuple(prefix + base[dimension] for prefix in "TGM"))
    for unit in preferred:
        size = floor(UNITS[dimension][unit])
        if value and value % (size // 1000 or 1) == 0 and value >= size:
            return f"{Decimal(value) / size:f} {unit}"
    return f"{value} {base[dimension]}"


def _validator(dimension: Dimension, rounding: Callable[[Fraction], int]) -> BeforeValidator:
    def read(value: object, info: ValidationInfo) -> Any:
        from_file = bool(info.context and info.context.get("file"))
        if isinstance(value, str):
            exact = parse_quantity(value, dimension)
            if exact < 0:
                raise ValueError("is negative; write zero or more")
            return rounding(exact)
        if isinstance(value, bool | float | Decimal) or (isinstance(value, int) and from_file):
            raise ValueError(f"has no unit; write for example {EXAMPLES[dimension]}")
        if value is not None and not isinstance(value, int):
            raise ValueError(f"is not a quantity; write for example {EXAMPLES[dimension]}")
        return value

    return BeforeValidator(read)


def _quantity(dimension: Dimension, rounding: Callable[[Fraction], int]) -> tuple[Any, ...]:
    schema = {"type": "string", "description": f"{dimension} with unit, e.g. {EXAMPLES[dimension]}"}
    return (
        _validator(dimension, rounding),
        PlainSerializer(lambda value: write_quantity(value, dimension), return_type=str, when_used="json"),
        WithJsonSchema(schema),
    )


CapacityBytes = Annotated[int, *_quantity("bytes", floor)]
DemandBytes = Annotated[int, *_quantity("bytes", ceiling)]
ByteRate = Annotated[int, *_quantity("bytes per second", floor)]
FlopRate = Annotated[int, *_quantity("FLOP per second", floor)]
LimitDuration = Annotated[int, *_quantity("duration", floor)]
DemandDuration = Annotated[int, *_quantity("duration", ceiling)]

_RATE = re.compile(r"\s*([0-9.eE+-]+)\s*(?:requests\s*)?(?:/|per\s+)\s*(s|sec|second|min|minute|h|hour)\s*")
_PER = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}


def parse_rate(value: object) -> Fraction:
    """Read a rate of requests such as ``20/s`` or ``1200/min``, per second.

    Raises
    ------
    ValueError
        If it is none; the message is the remedy.
    """
    if isinstance(value, Fraction):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) and len(value) <= MAX_TEXT else None
    if match is None:
        raise ValueError("is no rate with its unit; write for example '20/s' or '1200/min'")
    return exact(match[1]) / _PER[match[2]]


Rate = Annotated[
    Fraction,
    BeforeValidator(parse_rate),
    PlainSerializer(lambda value: f"{float(value):g}/s", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "description": "requests per second or minute, e.g. '20/s'"}),
]

Ratio = Annotated[
    Fraction,
    BeforeValidator(parse_ratio),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["number", "string"], "description": "a ratio such as 0.6 or '60%'"}),
]


def _read_price(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if not isinstance(value, str):
        raise ValueError(f"has no unit; write for example {EXAMPLES['price per hour']}")
    return parse_quantity(value, "price per hour")


Price = Annotated[
    Fraction,
    BeforeValidator(_read_price),
    PlainSerializer(lambda value: f"{float(value):g} USD/h", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "description": "price per hour, e.g. '1.69 USD/h'"}),
]
