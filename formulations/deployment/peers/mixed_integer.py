r"""Our own CP-SAT program, row by row, as a mixed-integer program.

A row that holds only if its literals do becomes :math:`a x \le b + (\max a x - b) \sum_k (1 - literal_k)`, with
:math:`\max a x` from the variables' ranges: the least big-M that cuts nothing off. An element row
``target = values[index]`` gets one Boolean per index. Rows that hold several literals follow the same patterns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ortools.sat.python import cp_model


@dataclass
class MixedInteger:
    """``sum of coefficient * variable <= high`` per row; every variable is integer."""

    lower: list[int] = field(default_factory=list)
    upper: list[int] = field(default_factory=list)
    cost: dict[int, int] = field(default_factory=dict)
    rows: list[tuple[dict[int, int], int]] = field(default_factory=list)

    def add_variable(self, lower: int, upper: int) -> int:
        """Add an integer variable and return its index."""
        self.lower.append(lower)
        self.upper.append(upper)
        return len(self.lower) - 1

    def range_of(self, terms: dict[int, int]) -> tuple[int, int]:
        """Return the least and largest value of a sum over the variables' ranges."""
        edges = [(factor * self.lower[index], factor * self.upper[index]) for index, factor in terms.items()]
        return sum(map(min, edges)), sum(map(max, edges))

    def add_row(self, terms: dict[int, int], low: int, high: int, literals: tuple[int, ...] = ()) -> None:
        """Add a row that holds if all literals (CP-SAT's numbering) do."""
        least, most = self.range_of(terms)
        if high < most:
            self._add_side(terms, high, most - high, literals)
        if low > least:
            self._add_side({index: -factor for index, factor in terms.items()}, -low, low - least, literals)

    def _add_side(self, terms: dict[int, int], high: int, slack: int, literals: tuple[int, ...]) -> None:
        row = dict(terms)
        for literal in literals:
            index, sign = _literal(literal)
            row[index] = row.get(index, 0) + slack * sign
            high += slack if sign > 0 else 0
        self.rows.append((row, high))


def _literal(literal: int) -> tuple[int, int]:
    """Return the variable of a literal, and +1, or -1 where it is negated."""
    return (literal, 1) if literal >= 0 else (-literal - 1, -1)


def mixed_integer_of(model: cp_model.CpModel) -> MixedInteger:
    """Rewrite a CP-SAT model of linear, Boolean and element rows.

    Raises
    ------
    NotImplementedError
        If the model has a row of another type.
    """
    proto, found = model.proto, MixedInteger()
    for variable in proto.variables:
        lower, *_, upper = variable.domain
        found.add_variable(lower, upper)
    for row in proto.constraints:
        _add(found, row)
    for index, factor in zip(proto.objective.vars, proto.objective.coeffs, strict=True):
        variable, sign = _literal(index)
        found.cost[variable] = found.cost.get(variable, 0) + sign * int(factor)
    return found


def _add(found: MixedInteger, row: Any) -> None:
    literals = tuple(row.enforcement_literal)
    if row.has_linear():
        terms, shift = _terms(zip(row.linear.vars, row.linear.coeffs, strict=True))
        low, *_, high = row.linear.domain
        found.add_row(terms, low - shift, high - shift, literals)
    elif row.has_exactly_one():
        _add_count(found, row.exactly_one.literals, 1, 1, literals)
    elif row.has_at_most_one():
        _add_count(found, row.at_most_one.literals, 0, 1, literals)
    elif row.has_bool_or():
        _add_count(found, row.bool_or.literals, 1, len(row.bool_or.literals), literals)
    elif row.has_bool_and():
        for literal in row.bool_and.literals:
            _add_count(found, [literal], 1, 1, literals)
    elif row.has_element():
        _add_element(found, row.element)
    else:
        raise NotImplementedError("a row of this type has no mixed-integer form here")


def _terms(pairs: Any) -> tuple[dict[int, int], int]:
    """Return a sum of terms over variables, and its constant part (``1 - x`` of negated literals)."""
    terms: dict[int, int] = {}
    shift = 0
    for index, factor in pairs:
        variable, sign = _literal(index)
        terms[variable] = terms.get(variable, 0) + sign * factor
        shift += factor if sign < 0 else 0
    return terms, shift


def _add_count(found: MixedInteger, counted: Any, low: int, high: int, literals: tuple[int, ...]) -> None:
    terms, shift = _terms((literal, 1) for literal in counted)
    found.add_row(terms, low - shift, high - shift, literals)


def _add_element(found: MixedInteger, element: Any) -> None:
    """``target = values[index]`` by one Boolean per index."""
    picks = [found.add_variable(0, 1) for _ in element.exprs]
    found.add_row(dict.fromkeys(picks, 1), 1, 1)
    _tie(found, element.linear_index, dict(zip(picks, range(len(picks)), strict=True)))
    _tie(found, element.linear_target, dict(zip(picks, (value.offset for value in element.exprs), strict=True)))


def _tie(found: MixedInteger, expression: Any, picked: dict[int, int]) -> None:
    terms = {index: -factor for index, factor in picked.items()}
    for index, factor in zip(expression.vars, expression.coeffs, strict=True):
        terms[index] = terms.get(index, 0) + factor
    found.add_row(terms, -expression.offset, -expression.offset)
