"""What readers yield: statements with the line they stand on, and the lines that nobody could read."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Literal

Value = Fraction | str | bool | tuple[int, ...]

Kind = Literal["markdown", "yaml", "json", "command"]


@dataclass(frozen=True)
class Entry:
    """A key with its value as it stands in the document, before anybody knows what it means.

    ``sections`` are the headings above it (or the keys above it in YAML), outermost first; ``subject`` is
    the row of a table it belongs to, e.g. ``stage 0``.
    """

    line: int
    text: str
    sections: tuple[str, ...]
    key: str
    value: str
    subject: str = ""


@dataclass(frozen=True)
class Statement:
    """One thing a document says: a field of the vocabulary and its value.

    ``value`` is in the base unit of the field (bytes, bytes/s, FLOP/s, seconds, a plain number); ``scale`` is
    the size of ``unit`` in that base unit; ``half`` is half a unit of the last printed digit; ``hedge`` is
    ``<`` or ``>`` for a value written as a bound.
    """

    line: int
    text: str
    field: str
    value: Value
    unit: str = ""
    scale: Fraction = Fraction(1)
    half: Fraction = Fraction(0)
    subject: str = ""
    section: str = ""
    hedge: str = ""
    digits: int = 0
    sections: tuple[str, ...] = ()

    @property
    def number(self) -> Fraction:
        """The value as a number.

        Raises
        ------
        TypeError
            If the statement holds no number.
        """
        if isinstance(self.value, Fraction):
            return self.value
        raise TypeError(f"{self.field} holds no number")


@dataclass(frozen=True)
class Unread:
    """A line that no statement was read from, and why."""

    line: int
    text: str
    reason: str = ""


@dataclass(frozen=True)
class ReadLine:
    """A line and what it was read as."""

    line: int
    text: str
    said: str


@dataclass(frozen=True)
class Document:
    """One plan as read: its statements in order of lines, and what could not be read.

    ``plan`` names it where a text holds several; ``form`` says what its launch was read from, and ``start``
    where the launch stands (``None``: nothing starts an engine); ``open``: parts of it are said elsewhere;
    ``lines``: what lines were read as that make no statement.
    """

    name: str
    kind: Kind
    statements: tuple[Statement, ...]
    unread: tuple[Unread, ...]
    engine: str = ""
    notes: tuple[str, ...] = field(default=())
    plan: str = ""
    form: str = ""
    start: tuple[int, str] | None = None
    open: bool = False
    lines: tuple[ReadLine, ...] = ()

    @cached_property
    def _by_field(self) -> dict[str, tuple[Statement, ...]]:
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            found.setdefault(statement.field, []).append(statement)
        return {name: tuple(rows) for name, rows in found.items()}

    @cached_property
    def _leading(self) -> dict[str, Statement]:
        """The first statement of each field that has no subject."""
        found: dict[str, Statement] = {}
        for statement in self.statements:
            if not statement.subject:
                found.setdefault(statement.field, statement)
        return found

    def of(self, *fields: str) -> tuple[Statement, ...]:
        """Return the statements of some fields."""
        return tuple(statement for name in fields for statement in self._by_field.get(name, ()))

    def first(self, *fields: str) -> Statement | None:
        """Return the first statement of the first of the fields that is stated, without a subject."""
        return next((self._leading[name] for name in fields if name in self._leading), None)

    def number(self, *fields: str) -> Fraction | None:
        """Return the first number stated for the fields."""
        for name in fields:
            leading = self._leading.get(name)
            if leading is not None and isinstance(leading.value, Fraction):
                return leading.value
        return None
