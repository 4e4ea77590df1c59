"""Quantities: exact, with units, refused without."""

from __future__ import annotations

from fractions import Fraction

import pytest

from shardproof.instances.units import ceiling, floor, parse_quantity, parse_ratio, write_quantity


@pytest.mark.parametrize(
    ("text", "dimension", "expected"),
    [
        ("64 GB", "bytes", 64 * 10**9),
        ("80GiB", "bytes", 80 * 2**30),
        ("79.19 GiB", "bytes", Fraction(7919, 100) * 2**30),
        ("1.8 TB/s", "bytes per second", 18 * 10**11),
        ("400 Gb/s", "bytes per second", 5 * 10**10),
        ("400 TFLOPS", "FLOP per second", 4 * 10**14),
        ("30 s", "duration", 3 * 10**10),
        ("50ms", "duration", 5 * 10**7),
        ("2 min", "duration", 12 * 10**10),
        ("0.1 ns", "duration", Fraction(1, 10)),
        ("1.69 USD/h", "price per hour", Fraction(169, 100)),
    ],
)
def test_quantities_are_exact(text: str, dimension: str, expected: Fraction) -> None:
    assert parse_quantity(text, dimension) == expected


@pytest.mark.parametrize(
    "text", ["64", "64 parsec", "GB", "", "nan GB", "inf GB", "6 4 GB", "1e9999 GB", "9" * 100 + " GB"]
)
def test_what_is_no_quantity_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        parse_quantity(text, "bytes")


@pytest.mark.parametrize(
    ("value", "expected"), [("60%", "3/5"), (0.6, "3/5"), ("0.6", "3/5"), ("3/5", "3/5"), (1, "1")]
)
def test_ratios_are_exact(value: object, expected: str) -> None:
    assert parse_ratio(value) == Fraction(expected)


@pytest.mark.parametrize("value", ["sixty", True, None, "1/0", [1]])
def test_what_is_no_ratio_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="write for example"):
        parse_ratio(value)


def test_rounding_directions() -> None:
    assert floor(Fraction(7, 2)) == 3
    assert ceiling(Fraction(7, 2)) == 4
    assert floor(Fraction(-7, 2)) == -4


@pytest.mark.parametrize("value", [0, 1, 999, 64 * 10**9, 85_029_615_042, 10**15, 30 * 10**9, 1_800_000_000_001])
@pytest.mark.parametrize("dimension", ["bytes", "bytes per second", "FLOP per second", "duration"])
def test_written_quantities_read_back(value: int, dimension: str) -> None:
    assert parse_quantity(write_quantity(value, dimension), dimension) == value
