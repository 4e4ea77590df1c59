"""Sums that a document does itself: ``EP 1 x PP 4 x TP 1 = 4``, ``59.7 GB + 12.6 GB = 72.3 GB``.

Terms are numbers with words around them, joined by ``x * / + -`` and compared by ``=``. Anything else in a
term (several numbers, brackets, units that do not fit) makes the line no sum.
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from shardproof.solver.documents.quantities import Quantity, quantities
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.values import make

_SPLIT = re.compile(r"\s(?:x|\*|/|\+|-)\s|\s?\*\s?")
_EQUALS = re.compile(r"(?<![<>=!~])=(?!=)|->|=>")
MAX_TERMS = 8


def read_sums(entry: Entry, *, section: str) -> list[Statement]:
    """Return the sum that a line does, as a statement of its right side with the left side's value."""
    text = f"{entry.key}: {entry.value}" if entry.key not in ("", "heading") else entry.value
    if "=" not in text or not re.search(r"\sx\s|\*|\s/\s|\s\+\s|\s-\s", text) or "(" in text.split("=")[0]:
        return []
    sides = _EQUALS.split(text)
    found = []
    for left, right in pairwise(sides):
        value = _evaluate(left.rpartition(":")[2].rpartition(";")[2])
        stated = _single(_first_term(right))
        if value is None or stated is None or stated.dimension not in ("count", value[1]):
            continue
        if value[1] != stated.dimension and value[1] != "ratio":
            continue
        statement = make(Entry(entry.line, entry.text, entry.sections, "", right), "sum", stated.value, section, stated)
        found.append(Statement(**{**statement.__dict__, "subject": f"{left.strip()[-120:]}|{value[0]}"}))
    return found


def _first_term(text: str) -> str:
    """The part before the next operator, comma or bracket."""
    return re.split(r",\s|;|\(|\s(?:x|\*|/|\+|-)\s", text.strip())[0][:60]


def _single(text: str) -> Quantity | None:
    """The only number of a term; a degree glued to its letters (``TP8``) counts as one."""
    spaced = re.sub(r"\b(tp|pp|ep|dp)[-=]?(?=\d)", r"\1 ", text, flags=re.I)
    if re.search(r"\d\s*(?:to|/|,)\s*\d|\^", spaced):
        return None
    found = quantities(spaced)
    starts = {item.start for item in found}
    if len(starts) != 1:
        return None
    wanted = [item for item in found if item.dimension != "count" or item.unit != "B"] or list(found)
    return wanted[0]


def _evaluate(text: str) -> tuple[Fraction, str] | None:
    """Value and dimension of the left side, or nothing if it is no plain chain."""
    operators = [match.group().strip() for match in _SPLIT.finditer(text)]
    terms = [_single(part) for part in _SPLIT.split(text)]
    if not operators or len(terms) > MAX_TERMS or any(term is None for term in terms):
        return None
    numbers = [term for term in terms if term is not None]
    if {"+", "-"} & set(operators):
        if set(operators) - {"+", "-"} or len({number.dimension for number in numbers}) != 1:
            return None
        total = numbers[0].value
        for operator, number in zip(operators, numbers[1:], strict=True):
            total += number.value if operator == "+" else -number.value
        return total, numbers[0].dimension
    return _product(numbers, operators)


def _product(numbers: list[Quantity], operators: list[str]) -> tuple[Fraction, str] | None:
    value, dimension = numbers[0].value, numbers[0].dimension
    for operator, number in zip(operators, numbers[1:], strict=True):
        if operator == "/":
            if number.value == 0:
                return None
            value /= number.value
            if number.dimension == dimension:
                dimension = "count" if dimension == "count" else "ratio"
            elif number.dimension != "count":
                return None
        else:
            value *= number.value
            if "count" not in (dimension, number.dimension):
                return None
            dimension = number.dimension if dimension == "count" else dimension
    return value, dimension
