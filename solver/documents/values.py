"""Values: the text beside a key, read as the kind of value that the vocabulary asks for."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from shardproof.solver.documents.quantities import Quantity, find, quantities
from shardproof.solver.documents.statement import Entry, Statement, Value
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.vocabulary import Field

_YES = frozenset(["yes", "true", "ok", "pass", "passed", "satisfied", "met", "enabled", "on", "fits", "y"])
_NO = frozenset(["no", "false", "fail", "failed", "violated", "missed", "disabled", "off", "n", "not"])

_DTYPES = (
    ("nvfp4", r"nvfp4"),
    ("mxfp4", r"mxfp4"),
    ("fp8", r"fp8|float8|e4m3|e5m2|f8"),
    ("int4", r"int4|w4a16|awq|gptq|4[ -]?bit"),
    ("int8", r"int8|w8a8|8[ -]?bit"),
    ("bf16", r"bf16|bfloat16"),
    ("fp16", r"fp16|float16|half"),
    ("fp32", r"fp32|float32"),
)

BYTES_PER_ELEMENT = {
    "fp32": Fraction(4), "bf16": Fraction(2), "fp16": Fraction(2), "fp8": Fraction(1), "int8": Fraction(1),
    "mxfp4": Fraction(1, 2), "nvfp4": Fraction(1, 2), "int4": Fraction(1, 2),
}  # fmt: skip


def read_dtype(text: str) -> str | None:
    """Return the dtype that a text names."""
    lower = text.lower()
    return next((name for name, pattern in _DTYPES if re.search(rf"(?<![a-z0-9])(?:{pattern})", lower)), None)


def read_flag(text: str) -> bool | None:
    """Return whether a text says yes or no, ``None`` if neither."""
    if text.strip()[:1] in ("✓", "✔", "✅", "☑"):
        return True
    if text.strip()[:1] in ("✗", "✘", "❌", "☒"):
        return False
    match = re.match(r"\s*([A-Za-z]+)", text)
    word = match[1].lower() if match else ""
    return True if word in _YES else False if word in _NO else None


def statement_of(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    """Read the value of an entry as a field; ``None`` if it is no value of that kind."""
    reader = _READERS.get(field.kind)
    if reader is None:
        dimension = {"count": "count", "bytes": "bytes", "rate": "rate", "flops": "flops", "time": "time"}
        return _quantity(entry, field, dimension[field.kind], unit, section)
    return reader(entry, field, unit, section)


def make(entry: Entry, field: str, value: Value, section: str = "", quantity: Quantity | None = None) -> Statement:
    """Build a statement, with the printed precision of a quantity if it has one."""
    lead = entry.value[: quantity.start].rstrip() if quantity else ""
    hedge = "<" if re.search(r"(?:<=?|up to|at most|under|below)$", lead.lower()) else ""
    hedge = ">" if re.search(r"(?:>=?|at least|over|above)$", lead.lower()) else hedge
    hedge = "~" if re.search(r"(?:~|about|around|roughly|approx\.?|approximately)$", lead.lower()) else hedge
    return Statement(
        line=entry.line,
        text=entry.text,
        field=field,
        value=value,
        unit=quantity.unit if quantity else "",
        scale=quantity.scale if quantity else Fraction(1),
        half=quantity.half if quantity else Fraction(0),
        digits=quantity.digits if quantity else 0,
        subject=entry.subject,
        section=section,
        hedge=hedge,
        sections=entry.sections,
    )


def _quantity(entry: Entry, field: Field, dimension: str, unit: str, section: str) -> Statement | None:
    quantity = find(entry.value, dimension, assumed_unit=unit)
    if quantity is None or quantity.value < 0:
        return None
    if dimension == "count":
        lead = entry.value[: quantity.start].strip(" ~<>=()[*")
        if len(lead.split()) > 3 or re.match(r"\s*(?:/|%|x\s*\d|\*\s*\d)", entry.value[quantity.end :]):
            return None
        if quantity.value.denominator != 1 and quantity.scale == 1:
            return None
    statement = make(entry, field.name, quantity.value, section, quantity)
    if field.name in _TOKENS and quantity.unit in ("K", "k") and quantity.value / 1000 in POWERS:
        return replace(statement, value=quantity.value * 1024 / 1000, scale=Fraction(1024))
    return statement


_TOKENS = frozenset({"input_tokens", "output_tokens", "max_model_len", "max_position", "microbatch_tokens"})
POWERS = frozenset({1, 2, 4, 8, 16, 32, 64, 128, 256, 512})
"""``2K tokens`` are 2,048: multiples of 1024 where the number is a power of two."""


def _name(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    del unit
    text = printable(entry.value, limit=100)
    if not re.search(r"[A-Za-z]", text):
        return None
    if field.name == "device" and re.match(r"\s*\d+\s*(?:per|/|on each|in each)\b", text):
        return None
    if field.name in ("device", "model") and not re.search(r"[A-Za-z]{2}|[A-Za-z]-?\d", text.partition("(")[0]):
        return None
    return make(entry, field.name, text, section)


def _flag(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    del unit
    value = read_flag(entry.value)
    return None if value is None else make(entry, field.name, value, section)


def _dtype(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    del unit
    value = read_dtype(entry.value)
    return None if value is None else make(entry, field.name, value, section)


def _ratio(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    quantity = find(entry.value, "ratio", assumed_unit=unit)
    if quantity is None:
        bare = find(entry.value, "count")
        if bare is None or not 0 <= bare.value <= 1 or bare.scale != 1:
            return None
        quantity = bare
    return make(entry, field.name, quantity.value, section, quantity)


def _range(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    found = [item for item in quantities(entry.value, assumed_unit=unit) if item.dimension == "count"]
    if len(found) < 2 or any(item.value.denominator != 1 for item in found[:2]):
        return None
    return make(entry, field.name, (int(found[0].value), int(found[1].value)), section)


def _counts(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    """One count, or a list of them: ``24``, ``[24, 24, 24, 22]``, ``24/24/23/23``, ``24 + 24 + 23 + 23``."""
    lists = re.search(r"\[?\s*(\d{1,5}(?:\s*(?:[,/+|]|\band\b)\s*(?:and\s+)?\d{1,5})+)\s*\]?", entry.value)
    if lists:
        return make(entry, field.name, tuple(int(part) for part in re.findall(r"\d+", lists[1])), section)
    return _quantity(entry, field, "count", unit, section)


def _tokens_per_second(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    del unit
    quantity = find(entry.value, "count")
    if quantity is None or not re.search(r"tok", f"{entry.value} {entry.key}".lower()):
        return None
    return make(entry, field.name, quantity.value, section, quantity)


def _price(entry: Entry, field: Field, unit: str, section: str) -> Statement | None:
    quantity = find(entry.value, "price", assumed_unit=unit)
    return None if quantity is None else make(entry, field.name, quantity.value, section, quantity)


_READERS = {
    "name": _name,
    "flag": _flag,
    "dtype": _dtype,
    "ratio": _ratio,
    "range": _range,
    "counts": _counts,
    "tokens_per_second": _tokens_per_second,
    "price": _price,
}
