"""Filters of a sweep: patterns over labels, and comparisons with facts of the model or the device."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.numbers import exact
from shardproof.instances.reading import refuse
from shardproof.instances.units import Dimension, parse_quantity

_COMPARISON = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(.+?)\s*")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}

FACTS: dict[str, Dimension | None] = {
    "device.memory": "bytes",
    "device.memory_bandwidth": "bytes per second",
    "device.price_per_hour": "price per hour",
    "device.devices_per_node": None,
    "device.vendor": None,
    "device.architecture": None,
    "model.parameters": None,
    "model.active_parameters": None,
    "model.family": None,
}


@dataclass(frozen=True)
class Condition:
    """One requirement on a combination: a pattern over a label, or a comparison with a fact."""

    subject: str
    patterns: tuple[str, ...] = ()
    compare: Callable[[Any, Any], bool] | None = None
    bound: Fraction | None = None

    def holds(self, labels: Mapping[str, str], instance: Instance | None) -> bool:
        """Whether the combination meets it; an unknown fact meets no comparison."""
        found = labels.get(self.subject) if self.subject in labels else _fact(self.subject, instance)
        if self.compare is None:
            text = "none" if found is None else str(found)
            return any(fnmatchcase(text.lower(), pattern.lower()) for pattern in self.patterns)
        return found is not None and self.compare(Fraction(found), self.bound)


def read_conditions(entry: Mapping[str, Any], *, where: str, field: str) -> list[Condition]:
    """Read one entry of ``only`` or ``skip``.

    Raises
    ------
    InputError
        If a comparison names no fact, or its value cannot be read.
    """
    return [_condition(subject, wanted, where, f"{field}.{subject}") for subject, wanted in entry.items()]


def _condition(subject: str, wanted: Any, where: str, field: str) -> Condition:
    texts = [str(item) for item in wanted] if isinstance(wanted, list) else [str(wanted)]
    match = _COMPARISON.fullmatch(texts[0]) if len(texts) == 1 else None
    if match is None:
        return Condition(subject=subject, patterns=tuple("none" if t == "None" else t for t in texts))
    if subject not in FACTS:
        raise refuse(where, f"compares no known fact; facts: {', '.join(FACTS)}", field=field, value=texts[0])
    sign, value = match.groups()
    return Condition(subject=subject, compare=_COMPARE[sign], bound=_bound(value, FACTS[subject], where, field))


def _bound(value: str, dimension: Dimension | None, where: str, field: str) -> Fraction:
    try:
        return parse_quantity(value, dimension) if dimension else exact(value)
    except (ValueError, ArithmeticError) as error:
        reason = str(error) if dimension else "is not a number"
        raise refuse(where, reason, field=field, value=value) from None


def _fact(subject: str, instance: Instance | None) -> Any:
    if instance is None:
        return None
    if subject in ("model", "device"):
        return getattr(instance, subject).name
    if subject == "engine":
        return instance.engine
    if subject not in FACTS:
        return None
    part, field = subject.split(".")
    return getattr(getattr(instance, part), field)
