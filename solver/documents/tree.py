"""YAML and JSON as a tree of nodes that know their lines; nothing is constructed, resolved by tag or executed.

Aliases and merge keys, which manifests and compose files use, stand for the node they name. A node knows how
many values it spells out, so that a document whose aliases multiply is refused before anybody walks it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from shardproof.instances.errors import InputError, Problem
from shardproof.solver.documents.text import printable

MAX_DEPTH = 60
MAX_EVENTS = 120_000
MAX_VALUES = 60_000
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Node:
    """A mapping (``fields``), a list (``items``) or a scalar (``scalar``), and the line that it starts on.

    ``first`` is the line of a block scalar's first line of text; ``size`` the values below, aliases spelled out.
    """

    line: int
    scalar: str | None = None
    items: tuple[Node, ...] | None = None
    fields: tuple[tuple[str, Node], ...] | None = None
    first: int = 0
    size: int = 1

    def get(self, *path: str | int) -> Node | None:
        """Return the node at a path of keys and places; ``None`` where it is not there."""
        node: Node | None = self
        for step in path:
            if node is None:
                return None
            node = node._step(step)
        return node

    def _step(self, step: str | int) -> Node | None:
        if isinstance(step, int):
            return self.items[step] if self.items is not None and step < len(self.items) else None
        return next((value for key, value in self.fields or () if key == step), None)

    def text(self, *path: str | int) -> str:
        """Return the scalar at a path; empty where there is none."""
        found = self.get(*path)
        return found.scalar if found is not None and found.scalar is not None else ""

    def each(self, *path: str | int) -> tuple[Node, ...]:
        """Return the items of the list at a path; empty where there is none."""
        found = self.get(*path)
        return found.items if found is not None and found.items is not None else ()

    def pairs(self, *path: str | int) -> tuple[tuple[str, Node], ...]:
        """Return keys and values of the mapping at a path; empty where there is none."""
        found = self.get(*path)
        return found.fields if found is not None and found.fields is not None else ()

    def walk(self) -> Iterator[Node]:
        """Yield this node and everything below it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            below = [value for _, value in node.fields or ()] + list(node.items or ())
            waiting += reversed(below)


@dataclass
class _Open:
    """A mapping or list that is being read."""

    mapping: bool
    line: int
    anchor: str | None
    key: str | None = None
    fields: list[tuple[str, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)

    def close(self) -> Node:
        below = [value for _, value in self.fields] + self.items
        size = 1 + sum(node.size for node in below)
        if not self.mapping:
            return Node(self.line, items=tuple(self.items), size=size)
        own = {key for key, _ in self.fields if key != "<<"}
        merged = [pair for key, node in self.fields if key == "<<" for pair in _merge_pairs(node)]
        kept = [(key, node) for key, node in self.fields if key != "<<"]
        return Node(self.line, fields=tuple(kept + [pair for pair in merged if pair[0] not in own]), size=size)


def _merge_pairs(node: Node) -> list[tuple[str, Node]]:
    sources = node.items if node.items is not None else (node,)
    return [pair for source in sources for pair in source.fields or ()]


class _Builder:
    """Follows the parser's events; holds what is open and the nodes that anchors name."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines
        self.open: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.documents: list[Node] = []

    def take(self, event: Any, line: int) -> None:
        """Take one event."""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise self.refuse(line, "holds an alias of itself or of nothing; write the value out")
            self.put(self.anchors[event.anchor])
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(self.open) >= MAX_DEPTH:
                raise self.refuse(line, f"is nested deeper than {MAX_DEPTH} levels")
            self.open.append(_Open(isinstance(event, yaml.MappingStartEvent), line, event.anchor))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self.open.pop()
            node = done.close()
            if node.size > MAX_VALUES:
                raise self.refuse(line, f"spells out more than {MAX_VALUES} values; this is no plan document")
            self.name_it(done.anchor, node)
            self.put(node)
        elif isinstance(event, yaml.ScalarEvent):
            self.scalar(event, line)

    def scalar(self, event: Any, line: int) -> None:
        """Take a key or a value."""
        text = str(event.value)
        level = self.open[-1] if self.open else None
        if level is not None and level.mapping and level.key is None:
            level.key = text[:200]
            return
        block = event.style in ("|", ">")
        node = Node(line, scalar=text, first=line + 1 if block else line)
        self.name_it(event.anchor, node)
        self.put(node)

    def name_it(self, anchor: str | None, node: Node) -> None:
        """Remember what an anchor names."""
        if anchor:
            self.anchors[anchor] = node

    def put(self, node: Node) -> None:
        """Give a finished node to what is open, or to the list of documents."""
        if not self.open:
            self.documents.append(node)
            return
        level = self.open[-1]
        if not level.mapping:
            level.items.append(node)
        elif level.key is None:
            raise self.refuse(node.line, "a field name must be plain text")
        else:
            level.fields.append((level.key, node))
            level.key = None

    def refuse(self, line: int, remedy: str) -> InputError:
        """Return the error for a place in the document."""
        return InputError([Problem(where=f"{printable(self.name)}:{line}", field="", value="", remedy=remedy)])


def read_tree(text: str, *, name: str) -> tuple[Node, ...]:
    """Read a YAML or JSON text into the nodes of its documents.

    Raises
    ------
    InputError
        If it is no YAML or JSON, too deep, too large, or its aliases multiply beyond `MAX_VALUES`.
    """
    builder = _Builder(name, text.split("\n"))
    try:
        for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if count > MAX_EVENTS:
                raise builder.refuse(line, "holds too many values; this is no plan document")
            builder.take(event, line)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        template = "; it is a template: audit its values, or what `helm template` prints" if "{{" in text else ""
        raise builder.refuse(line, f"is not YAML or JSON: {printable(error.problem or '')}{template}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = printable(str(error).splitlines()[0] if str(error) else "unreadable")
        raise builder.refuse(1, f"is not YAML or JSON: {reason}") from None
    return tuple(builder.documents)
