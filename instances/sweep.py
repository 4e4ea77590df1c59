"""Sweep files: many questions at once, as a cross product or a list of combinations with filters.

An axis is named by the path of an instance field (``model``, ``limits.ttft``, ``workload``) and lists its
values. A value is what the instance file would say there; a mapping of names to values labels them. Texts of
the axes ``model`` and ``device`` may be patterns over the catalogue (``*``, ``qwen3-*``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from shardproof.instances import catalogue
from shardproof.instances.base import Record
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.hardware import Device
from shardproof.instances.instance import Instance, InstanceFile
from shardproof.instances.model import Model
from shardproof.instances.pool_fields import POOL_FIELDS, is_about_pools
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.pools_resolve import resolve_pools
from shardproof.instances.reading import is_file, read_mapping, refuse, validate
from shardproof.instances.resolve import merge, resolve
from shardproof.instances.sweep_filters import Condition, read_conditions

MAX_COMBINATIONS = 1_000_000
_FIRST_COLUMNS = ("model", "device", "engine")


class Sweep(Record):
    """Many instances described at once.

    ``base`` holds instance fields that every task shares. Every entry of ``combinations`` (one empty entry
    when none is listed) is crossed with all axes of ``cross``. A combination is kept when it meets ``only``
    (any of its entries, if there are some) and none of ``skip``; an entry maps axis names to patterns, and
    facts such as ``device.memory`` or ``model.parameters`` to comparisons (``>= 80 GB``).
    """

    name: str = Field(min_length=1, max_length=120)
    description: str = ""
    base: dict[str, Any] = Field(default_factory=dict)
    cross: dict[str, list[Any] | dict[str, Any] | str] = Field(default_factory=dict)
    combinations: tuple[dict[str, Any], ...] = ()
    only: tuple[dict[str, Any], ...] = ()
    skip: tuple[dict[str, Any], ...] = ()

    @field_validator("cross")
    @classmethod
    def _axes_have_values(cls, cross: dict[str, Any]) -> dict[str, Any]:
        for axis, values in cross.items():
            if not values:
                raise ValueError(f"axis '{axis}' has no values; list at least one")
        return cross

    @model_validator(mode="after")
    def _paths_are_instance_fields(self) -> Sweep:
        for path in {*self.cross, *(key for entry in self.combinations for key in entry)}:
            if path.split(".")[0] not in (*InstanceFile.model_fields, *POOL_FIELDS):
                raise ValueError(
                    f"axis '{path}' is no field of an instance; fields: {', '.join(InstanceFile.model_fields)}"
                )
        return self


@dataclass(frozen=True)
class Point:
    """One combination: its labels by axis, and the instance (or question about pools) it stands for, or why not."""

    labels: Mapping[str, str]
    model: str
    device: str
    engine: str
    instance: Instance | None
    refusal: str | None = None
    fleet: PoolsQuestion | None = None

    @property
    def name(self) -> str:
        """What the task is called: its labels, in the order of the axes."""
        return " / ".join(self.labels.values()) or "instance"


@dataclass(frozen=True)
class _Value:
    label: str
    content: Any


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file (YAML or JSON)."""
    tree = read_mapping(path)
    tree.setdefault("name", path.stem)
    return validate(Sweep, tree, where=str(path))


def expand(sweep: Sweep, *, where: str = "sweep", folder: Path | None = None) -> Iterator[Point]:
    """Yield every kept combination, in the order of the file, last axis fastest.

    A combination that is well written but asks the impossible of its model or device (a prompt longer than
    the model's positions, say) is yielded with its refusal.

    Raises
    ------
    InputError
        If the combinations are too many, a name is not found, or a field is not valid.
    """
    only = [read_conditions(entry, where=where, field="only") for entry in sweep.only]
    skip = [read_conditions(entry, where=where, field="skip") for entry in sweep.skip]
    seen: set[tuple[tuple[str, str], ...]] = set()
    for chosen in _combinations(sweep, where):
        labels = {axis: value.label for axis, value in chosen.items()}
        key = tuple(labels.items())
        if key in seen:
            continue
        seen.add(key)
        point = _point(sweep, chosen, labels, where=where, folder=folder)
        if _kept(point, only, skip):
            yield point


def axes(sweep: Sweep) -> tuple[str, ...]:
    """Names of the swept axes beside model, device and engine."""
    listed = (key for entry in sweep.combinations for key in entry)
    return tuple(dict.fromkeys(axis for axis in (*listed, *sweep.cross) if axis not in _FIRST_COLUMNS))


def _combinations(sweep: Sweep, where: str) -> Iterator[dict[str, _Value]]:
    crossed = {axis: _axis_values(axis, values, where) for axis, values in sweep.cross.items()}
    listed = sweep.combinations or ({},)
    total = len(listed) * math.prod(len(values) for values in crossed.values())
    if total > MAX_COMBINATIONS:
        raise refuse(where, f"asks for {total} combinations, more than {MAX_COMBINATIONS}; shorten an axis")
    for entry in listed:
        own = {axis: _axis_values(axis, [value], where) for axis, value in entry.items()}
        every = own | {axis: values for axis, values in crossed.items() if axis not in own}
        for values in itertools.product(*every.values()):
            yield dict(zip(every, values, strict=True))


def _axis_values(axis: str, values: Any, where: str) -> list[_Value]:
    if isinstance(values, dict):
        return [_Value(label=str(name), content=content) for name, content in values.items()]
    if isinstance(values, str):
        values = [values]
    if axis in ("model", "device"):
        return _from_catalogue(axis, values, where)
    return [_Value(label=_label(value), content=value) for value in values]


def _from_catalogue(axis: str, values: list[Any], where: str) -> list[_Value]:
    found: dict[str, _Value] = {}
    for value in values:
        names = [value]
        if isinstance(value, str) and any(mark in value for mark in "*?["):
            names = [name for name in _catalogue_names(axis) if fnmatchcase(name, value)]
            if not names:
                remedy = f"matches no {axis} of the catalogue; see 'shardproof catalog'"
                raise refuse(where, remedy, field=f"cross.{axis}", value=value)
        found |= {_label(name): _Value(label=_label(name), content=name) for name in names}
    return list(found.values())


def check_names(sweep: Sweep, *, folder: Path | None = None) -> None:
    """Look up every model and device that the sweep names, so that a wrong name is refused before the run.

    Raises
    ------
    InputError
        If a name is not in the catalogue, with the nearest ones.
    """
    for axis, look_up in (("model", catalogue.load_model), ("device", catalogue.load_device)):
        listed = sweep.cross.get(axis, [])
        values = [sweep.base.get(axis), *(entry.get(axis) for entry in sweep.combinations)]
        values += [listed] if isinstance(listed, str) else list(listed)
        for value in values:
            if not isinstance(value, str) or any(mark in value for mark in "*?["):
                continue
            if folder is None or not is_file(folder / value):
                look_up(value)


def _catalogue_names(axis: str) -> list[str]:
    return sorted(catalogue.model_names() if axis == "model" else catalogue.device_names())


def _label(value: Any) -> str:
    if isinstance(value, Model | Device):
        return value.name
    if isinstance(value, dict):
        return str(value["name"]) if "name" in value else ", ".join(f"{k}={_label(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_label, value))
    return "none" if value is None else str(value)


def _point(
    sweep: Sweep, chosen: Mapping[str, _Value], labels: Mapping[str, str], *, where: str, folder: Path | None
) -> Point:
    tree: dict[str, Any] = dict(sweep.base)
    for axis, value in chosen.items():
        nested: Any = value.content
        for part in reversed(axis.split(".")):
            nested = {part: nested}
        tree = merge(tree, nested)
    tree["name"] = " / ".join(labels.values())[:500] or sweep.name
    if is_about_pools(tree):
        return _fleet(tree, labels, where=where, folder=folder)
    file = _validated(tree, labels, where)
    names = (_label(file.model), _label(file.device), file.engine.version_text)
    try:
        return Point(labels, *names, instance=resolve(file, where=where, folder=folder))
    except InputError as error:
        reasons = [f"{problem.field}: {problem.remedy}" for problem in error.problems] or [str(error)]
        return Point(labels, *names, instance=None, refusal="; ".join(reasons))


def _fleet(tree: dict[str, Any], labels: Mapping[str, str], *, where: str, folder: Path | None) -> Point:
    """Return the point of a question about several devices or models."""
    try:
        question = resolve_pools(tree, where=where, folder=folder)
    except InputError as error:
        reasons = [f"{problem.field}: {problem.remedy}" for problem in error.problems] or [str(error)]
        return Point(labels, "fleet", "fleet", "", instance=None, refusal="; ".join(reasons))
    models = " + ".join(dict.fromkeys(pool.model for pool in question.pools)) or "as measured"
    offers = " + ".join(stock.name for stock in question.offers)
    engines = " + ".join(dict.fromkeys(pool.instance.engine for pool in question.pools))
    return Point(labels, models, offers, engines, instance=None, fleet=question)


def _validated(tree: dict[str, Any], labels: Mapping[str, str], where: str) -> InstanceFile:
    try:
        return validate(InstanceFile, tree, where=where)
    except InputError as error:
        raise InputError([_placed(problem, labels) for problem in error.problems] or str(error)) from None


LONGEST_LABEL = 60
"""Characters of one value of a sweep in a message."""


def _placed(problem: Problem, labels: Mapping[str, str]) -> Problem:
    task = " / ".join(
        label if len(label) <= LONGEST_LABEL else f"{label[:LONGEST_LABEL]}..." for label in labels.values()
    )
    return Problem(problem.where, problem.field, problem.value, f"{problem.remedy} [in combination {task}]")


def _kept(point: Point, only: list[list[Condition]], skip: list[list[Condition]]) -> bool:
    if only and not any(all(c.holds(point.labels, point.instance) for c in entry) for entry in only):
        return False
    return not any(all(c.holds(point.labels, point.instance) for c in entry) for entry in skip)
