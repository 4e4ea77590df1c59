"""Claims: a statement of the document with its verdict, the recomputed figure and the formula."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from shardproof.solver.documents.statement import Statement

Verdict = Literal["confirmed", "contradicted", "inconsistent", "not-checkable"]


@dataclass(frozen=True)
class Claim:
    """One judged statement. ``recomputed`` is in the claim's own unit; ``explained_by`` names mistakes."""

    statement: Statement
    verdict: Verdict
    formula: str
    recomputed: Fraction | float | str | bool | tuple[int, ...] | None = None
    explained_by: tuple[str, ...] = ()
    explanation: str = ""

    @property
    def wrong(self) -> bool:
        """Whether the document says something that is not so."""
        return self.verdict in ("contradicted", "inconsistent")

    def to_json(self) -> dict[str, Any]:
        """Return the claim as ``audit --json`` prints it."""
        statement = self.statement
        return {
            "line": statement.line,
            "text": statement.text,
            "field": statement.field,
            "subject": statement.subject.partition("|")[0] or None,
            "verdict": self.verdict,
            "stated": _plain(statement.value, statement.scale),
            "recomputed": _plain(self.recomputed, statement.scale),
            "unit": statement.unit,
            "formula": self.formula,
            "explained_by": list(self.explained_by),
            "explanation": self.explanation or None,
        }


def _plain(value: object, scale: Fraction) -> Any:
    if isinstance(value, float):
        return float(f"{value / float(scale):.6g}")
    if isinstance(value, Fraction):
        shown = value / scale
        return int(shown) if shown.denominator == 1 and abs(shown) < 10**15 else float(f"{float(shown):.6g}")
    return list(value) if isinstance(value, tuple) else value


def confirmed(statement: Statement, formula: str, recomputed: Fraction | float | str | bool | None = None) -> Claim:
    """The claim holds against something else that is known; what is only taken over is not checkable.

    A claim that was checked without a figure of its own (a range, a divisibility) is recomputed as stated.
    """
    if formula.startswith("taken as"):
        return not_checkable(statement, f"{formula}: nothing else says it")
    return Claim(statement, "confirmed", formula, statement.value if recomputed is None else recomputed)


def contradicted(statement: Statement, formula: str, recomputed: Fraction | float | str | bool | None = None) -> Claim:
    """The claim does not hold."""
    return Claim(statement, "contradicted", formula, recomputed)


def inconsistent(statement: Statement, formula: str, recomputed: Fraction | float | str | bool | None = None) -> Claim:
    """The claim does not agree with another claim."""
    return Claim(statement, "inconsistent", formula, recomputed)


def not_checkable(statement: Statement, reason: str, recomputed: Fraction | float | str | bool | None = None) -> Claim:
    """Nothing known decides the claim."""
    return Claim(statement, "not-checkable", reason, recomputed)


def agrees(statement: Statement, expected: Fraction | float, *, tolerance: Fraction | float = 0) -> bool:
    """Whether a number agrees with the expected one in its printed precision, or within a relative tolerance."""
    if isinstance(expected, float) or isinstance(tolerance, float):
        expected = Fraction(expected)
    slack = max(statement.half, Fraction(tolerance) * abs(expected))
    stated = statement.number
    if statement.hedge == "<":
        return stated + slack >= expected
    if statement.hedge == ">":
        return stated - slack <= expected
    if statement.hedge == "~":
        slack = max(slack, abs(expected) / 20)
    return abs(stated - expected) <= slack


def show(value: Fraction | int | float, dimension: str = "") -> str:
    """Write a number for a formula: bytes, seconds or a plain number, four digits."""
    number = float(value)
    if dimension == "bytes":
        for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if abs(number) >= size:
                return f"{number / size:.4g} {unit}"
        return f"{number:.0f} B"
    if dimension == "time":
        return f"{number:.4g} s" if abs(number) >= 1 else f"{number * 1e3:.4g} ms"
    if dimension == "ratio":
        return f"{number * 100:.4g} %"
    return f"{number:,.0f}" if number == int(number) and abs(number) < 1e9 else f"{number:.4g}"


def idle(count: int) -> str:
    """Say that so many of the GPUs before do no work."""
    return f"{count} of them {'does' if count == 1 else 'do'} no work"
