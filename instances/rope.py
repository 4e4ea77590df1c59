"""Positions of a model: how rotary embeddings are stretched, and requests that would lie beyond them."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, model_validator

from shardproof.instances.base import Record
from shardproof.instances.reading import refuse
from shardproof.instances.units import Ratio


def from_json(value: Any) -> Any:
    """Read the text of a JSON object, as engines' flags take it."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('is no JSON object, e.g. {"rope_type": "yarn", "factor": 4, ...}') from None


class RopeScaling(Record):
    """How rotary positions are stretched beyond what the checkpoint says, as engines are told.

    ``yarn`` reaches ``factor`` times the original positions, ``linear`` and ``dynamic`` as many times the
    checkpoint's own. ``rope_theta``: the base, where the engine replaces the whole section of the config.
    """

    rope_type: Literal["yarn", "linear", "dynamic"] = "yarn"
    factor: Ratio = Field(ge=1, le=4096)
    original_max_position_embeddings: int | None = Field(default=None, gt=0, le=10**9)
    rope_theta: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, tree: Any) -> Any:
        """Take ``type``, the older name of ``rope_type``, as well."""
        if isinstance(tree, dict) and "type" in tree and "rope_type" not in tree:
            return {("rope_type" if key == "type" else key): value for key, value in tree.items()}
        return tree

    @model_validator(mode="after")
    def _complete(self) -> RopeScaling:
        if self.rope_type == "yarn" and self.original_max_position_embeddings is None:
            raise ValueError("yarn needs original_max_position_embeddings, the positions of the first training")
        return self

    def positions(self, own: int) -> int:
        """Positions that a model with ``own`` positions reaches."""
        base = self.original_max_position_embeddings if self.rope_type == "yarn" else own
        return int((base or own) * Fraction(self.factor))

    def told(self) -> dict[str, object]:
        """The section as engines read it."""
        factor = Fraction(self.factor)
        values = {
            "rope_type": self.rope_type,
            "factor": float(factor),
            "original_max_position_embeddings": self.original_max_position_embeddings,
            "rope_theta": self.rope_theta,
        }
        return {name: value for name, value in values.items() if value is not None}


def check_positions(longest: int, positions: int, model: str, where: str) -> None:
    """Refuse requests of ``longest`` tokens beyond a model's positions.

    Raises
    ------
    InputError
        With what can be stated instead.
    """
    if longest > positions:
        remedy = (
            f"input + output tokens exceed the {positions} positions of {model}; shorten them or, for a named engine, "
            "state engine.rope_scaling (--rope-scaling) as the model's publisher does"
        )
        raise refuse(where, remedy, field="workload", value=str(longest))
