"""The base of every schema: frozen, unknown fields forbidden, and no truth value taken for a number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


def _numbers(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts of a schema that read whole or decimal numbers; guarded ones are left out."""
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from _numbers(part)
    elif isinstance(schema, dict):
        if schema.get("type") in ("int", "float"):
            yield schema
        elif schema.get("function", {}) != {"type": "no-info", "function": _no_truth_value}:
            for part in schema.values():
                yield from _numbers(part)


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is no number; write one")
    return value


class Record(BaseModel):
    """A frozen record that refuses unknown fields, non-finite numbers, and ``true`` where a number belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Guard every number of the schema, also those in lists and mappings: YAML's ``yes`` is no 1."""
        made = handler(source)
        for number in list(_numbers(made)):
            plain: Any = dict(number)
            number.clear()
            number.update(core_schema.no_info_before_validator_function(_no_truth_value, plain))
        return made
