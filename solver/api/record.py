"""What every answer of the public functions shares: a document, a data frame, a picture in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from shardproof.instances.errors import InputError


class Answered(ABC):
    """An answer: frozen, silent, and the same in every form that it is looked at."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the document that the command line prints with ``--json``."""

    @abstractmethod
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows of `to_frame` as plain values; keys name their units."""

    def to_frame(self) -> Any:
        """Return `rows` as a ``pandas.DataFrame``.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise InputError("to_frame() needs pandas: pip install 'shardproof[pandas]'") from None
        return pandas.DataFrame.from_records([dict(row) for row in self.rows()])

    def _repr_html_(self) -> str:
        """Return the answer as a notebook shows it: one piece of HTML that loads nothing."""
        from shardproof.solver.api.html import piece, table_of_rows

        return piece(str(self), table_of_rows(self.rows()))


def seconds_of(value: float | str | None, name: str) -> float | None:
    """Read a duration given in seconds, or as text with its unit.

    Raises
    ------
    InputError
        If the text is no duration, or the value is negative.
    """
    if value is None:
        return None
    if isinstance(value, str):
        from shardproof.instances.reading import refuse
        from shardproof.instances.units import parse_quantity

        try:
            return float(parse_quantity(value, "duration")) / 1e9
        except ValueError as error:
            raise refuse("question", str(error), field=name, value=value) from None
    if not value >= 0:
        raise InputError(f"{name}: {value}: is no duration; write seconds, or text such as '30 s'")
    return float(value)
