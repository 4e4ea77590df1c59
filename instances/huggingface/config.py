"""Typed access to the fields of a ``config.json``: what is missing or malformed is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shardproof.instances.errors import InputError, Problem

MAX_LAYERS = 4096
MAX_NUMBER = 10**9
MAX_ITEMS = 200_000


@dataclass(frozen=True)
class Config:
    """The fields that describe the text decoder, and the file that they stand in."""

    fields: Mapping[str, object]
    where: str

    def has(self, name: str) -> bool:
        """Tell whether a field is given and not null."""
        return self.fields.get(name) is not None

    def refuse(self, field: str, remedy: str) -> InputError:
        """Return the error that names file, field, value and remedy."""
        value = repr(self.fields.get(field)) if field in self.fields else ""
        shown = value if len(value) <= 80 else value[:77] + "..."
        return InputError([Problem(where=self.where, field=field, value=shown, remedy=remedy)])

    def optional_integer(self, *names: str, minimum: int = 1) -> int | None:
        """Return the first of the named fields that is given, or ``None``."""
        for name in names:
            value = self.fields.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.refuse(name, "is not a whole number")
            if not minimum <= value <= MAX_NUMBER:
                raise self.refuse(name, f"must lie between {minimum} and {MAX_NUMBER}")
            return value
        return None

    def integer(self, *names: str, default: int | None = None, minimum: int = 1) -> int:
        """Return the first of the named fields that is given, else the default, else refuse."""
        value = self.optional_integer(*names, minimum=minimum)
        if value is not None:
            return value
        if default is None:
            raise self.refuse(names[0], "is missing; add it as in the model's published config.json")
        return default

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a true or false field."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(name, "must be true or false")
        return value

    def word(self, name: str) -> str | None:
        """Return a text field."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, str):
            raise self.refuse(name, "must be text")
        return value

    def words(self, name: str) -> tuple[str, ...] | None:
        """Return a field that is a list of texts."""
        value = self._list(name)
        if value is not None and not all(isinstance(item, str) for item in value):
            raise self.refuse(name, "must be a list of texts")
        return None if value is None else tuple(str(item) for item in value)

    def numbers(self, name: str) -> tuple[int, ...] | None:
        """Return a field that is a list of whole numbers."""
        value = self._list(name)
        if value is None:
            return None
        numbers = tuple(item for item in value if isinstance(item, int) and not isinstance(item, bool))
        if len(numbers) != len(value):
            raise self.refuse(name, "must be a list of whole numbers")
        return numbers

    def section(self, name: str) -> Mapping[str, object] | None:
        """Return a field that is a mapping."""
        value = self.fields.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise self.refuse(name, "must be a mapping")
        return value

    def _list(self, name: str) -> Sequence[object] | None:
        value = self.fields.get(name)
        if value is None:
            return None
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > MAX_ITEMS:
            raise self.refuse(name, f"must be a list of at most {MAX_ITEMS} items")
        return value

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return self.integer("hidden_size")

    @property
    def layer_count(self) -> int:
        """Number of decoder layers."""
        count = self.integer("num_hidden_layers")
        if count > MAX_LAYERS:
            raise self.refuse("num_hidden_layers", f"is more than {MAX_LAYERS}")
        return count
