"""YAML and JSON plans, flattened into entries with their lines; nothing is constructed or executed.

Only the event stream of the parser is used: no tags, no objects, no recursion. Aliases are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from shardproof.instances.errors import InputError, Problem
from shardproof.solver.documents.statement import Entry
from shardproof.solver.documents.text import printable

MAX_DEPTH = 40
MAX_EVENTS = 120_000
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class _Level:
    """One open mapping or sequence: its name, the pending key, and the scalars of a plain list."""

    name: str
    mapping: bool
    key: str | None = None
    line: int = 0
    items: list[str] = field(default_factory=list)
    children: int = 0


class _Flattener:
    """Follows the events, keeps the open levels, and writes one entry per value."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines
        self.levels: list[_Level] = []
        self.entries: list[Entry] = []

    def open(self, *, mapping: bool, line: int) -> None:
        """Open a mapping or a list."""
        if len(self.levels) >= MAX_DEPTH:
            raise self.refuse(line, f"is nested deeper than {MAX_DEPTH} levels")
        self.levels.append(_Level(self._own_name(), mapping, line=line))

    def close(self) -> None:
        """Close the innermost level; a list of plain values becomes one entry."""
        level = self.levels.pop()
        if not level.mapping and level.items and not level.children:
            self.write(level.name, f"[{', '.join(level.items)}]", level.line)
        if self.levels:
            self.levels[-1].key = None

    def scalar(self, text: str, line: int) -> None:
        """Take a key or a value."""
        if not self.levels:
            return
        level = self.levels[-1]
        if level.mapping and level.key is None:
            level.key = printable(text, limit=80)
        elif level.mapping:
            self.write(level.key or "", text, line)
            level.key = None
        else:
            level.items.append(text[:200])

    def write(self, key: str, value: str, line: int) -> None:
        """Write an entry for a value at the current place."""
        path = tuple(level.name for level in self.levels if level.name and not level.name.startswith("#"))
        subject = ""
        for above, below in zip(self.levels, self.levels[1:], strict=False):
            if not above.mapping and below.name.startswith("#") and above.name != "microbatches":
                subject = f"{_singular(above.name)} {below.name[1:]}"
        text = printable(self.lines[line - 1]) if line <= len(self.lines) else ""
        owner = path[-1] if path else ""
        for suffix in ("_bytes", "_ns", "_ms"):
            if owner.endswith(suffix) and not key.endswith(suffix):
                key += suffix
        if key.lower() in ("name", "id", "type") and owner:
            key = owner if key.lower() != "type" else f"{owner} type"
        self.entries.append(Entry(line, text, path, key, value[:20_000], subject))

    def _own_name(self) -> str:
        if not self.levels:
            return ""
        level = self.levels[-1]
        if level.mapping:
            name = level.key or ""
            if name == "":
                raise self.refuse(level.line, "a field name must be plain text")
            return name
        level.children += 1
        return f"#{level.children - 1}"

    def refuse(self, line: int, remedy: str) -> InputError:
        """Return the error for a place in the document."""
        return InputError([Problem(where=f"{printable(self.name)}:{line}", field="", value="", remedy=remedy)])


def _singular(name: str) -> str:
    lower = name.lower().replace("pipeline_", "")
    return {"stages": "stage", "gpus": "gpu", "devices": "gpu", "scenarios": "scenario"}.get(lower, lower)


def flatten(text: str, *, name: str) -> tuple[Entry, ...]:
    """Turn a YAML or JSON text into entries.

    Raises
    ------
    InputError
        If it is no YAML or JSON, too deep, too large, or holds aliases.
    """
    flattener = _Flattener(name, text.split("\n"))
    try:
        for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if count > MAX_EVENTS:
                raise flattener.refuse(line, "holds too many values; this is no plan document")
            _take(flattener, event, line)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise flattener.refuse(line, f"is not YAML or JSON: {printable(error.problem or '')}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = printable(str(error).splitlines()[0] if str(error) else "unreadable")
        raise flattener.refuse(1, f"is not YAML or JSON: {reason}") from None
    return tuple(flattener.entries)


def _take(flattener: _Flattener, event: Any, line: int) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise flattener.refuse(line, "holds an alias; write the value out")
    if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
        flattener.open(mapping=isinstance(event, yaml.MappingStartEvent), line=line)
    elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
        flattener.close()
    elif isinstance(event, yaml.ScalarEvent):
        flattener.scalar(str(event.value), line)
