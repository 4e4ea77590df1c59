"""Reading YAML and JSON files safely: every problem at once, each with file, field, value and remedy.

Refused: files over a sane size, deep nesting, aliases that explode, duplicate keys, custom tags and
non-finite numbers. Decimal numbers are read as `decimal.Decimal`, never as binary floats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shardproof.instances.errors import UNPRINTABLE, InputError, Problem
from shardproof.instances.numbers import decimal, integer

MAX_BYTES = 4_000_000
MAX_NODES = 200_000
MAX_DEPTH = 50
SHALLOW = 2000
"""Characters of a text that cannot nest deep enough to do harm."""
_SHOWN = 60
_FORM = re.compile(r"[A-Z][A-Za-z]+|function-(?:after|before|wrap|plain)\[.*\]")

Schema = TypeVar("Schema", bound=BaseModel)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def refuse(where: str, remedy: str, *, field: str = "", value: str = "") -> InputError:
    """Return the error for one problem."""
    return InputError([Problem(where=where, field=field, value=value, remedy=remedy)])


def is_file(path: Path) -> bool:
    """Whether a path names a file; text that cannot be a path at all names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_text(path: Path) -> str:
    """Read a text file of sane size.

    Raises
    ------
    InputError
        If it cannot be read, is no UTF-8 text or is larger than `MAX_BYTES`.
    """
    try:
        if path.is_dir():
            raise refuse(str(path), "is a folder; name a file in it")
        if path.stat().st_size > MAX_BYTES:
            raise refuse(str(path), f"is larger than {MAX_BYTES // 10**6} MB; this is no file for shardproof")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise refuse(str(path), "is not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse(str(path), f"cannot be read ({reason}); check the path") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file whose top level is a mapping."""
    text = read_text(path)
    return parse_mapping(text, where=str(path), json_syntax=path.suffix.lower() == ".json")


def parse_mapping(text: str, *, where: str, json_syntax: bool = False) -> dict[str, Any]:
    """Parse YAML or JSON text whose top level is a mapping."""
    tree = _parse_json(text, where) if json_syntax else _parse_yaml(text, where)
    if not isinstance(tree, dict):
        raise refuse(where, "the top level must be a mapping of field names to values")
    return tree


def validate(schema: type[Schema], tree: Mapping[str, Any], *, where: str) -> Schema:
    """Check a tree against a schema; numbers that need a unit must have one.

    Raises
    ------
    InputError
        With one line for every problem in the tree.
    """
    try:
        return schema.model_validate(tree, context={"file": where})
    except ValidationError as error:
        problems = [_problem(details, where) for details in error.errors() if not _of_another_form(details)]
        raise InputError(list(dict.fromkeys(problems or [_problem(error.errors()[0], where)]))) from None


def _of_another_form(details: ErrorDetails) -> bool:
    """Whether a field that takes a name or a mapping was given the mapping, and complains that it is no name."""
    return details["type"] == "string_type" and details["loc"][-1] == "str" and isinstance(details["input"], dict)


def _problem(details: ErrorDetails, where: str) -> Problem:
    # A schema that takes several forms puts the form's class name into the location.
    parts = (str(part) for part in details["loc"] if not (isinstance(part, str) and _FORM.fullmatch(part)))
    field = ".".join(part or "''" for part in parts)
    kind, message = details["type"], details["msg"]
    if kind == "extra_forbidden":
        return Problem(where, field, "", "unknown field; remove it or correct its name")
    if kind == "missing":
        return Problem(where, field, "", "is missing; add it")
    value = _shorten(details.get("input"))
    said = message.removeprefix("Value error, ").replace("Input should be", "must be")
    share = kind in ("less_than", "less_than_equal") and 1 in details.get("ctx", {}).values()
    return Problem(where, field, value, f"{said}; a share is written '60%' or 0.6" if share else said)


def _shorten(value: object) -> str:
    if isinstance(value, dict | list | tuple | BaseModel):
        return ""
    text = str(value).encode("unicode_escape").decode("ascii")
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _parse_json(text: str, where: str) -> Any:
    def constant(name: str) -> Any:
        raise refuse(where, "numbers must be finite", value=name)

    def number(read: Callable[[str], Any]) -> Callable[[str], Any]:
        def within_limits(written: str) -> Any:
            try:
                return read(written)
            except ValueError as error:
                return _Refused(str(error), written)

        return within_limits

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            if key in found:
                raise refuse(where, "stands twice; keep one of them", field=_shorten(key))
            found[key] = value
        return found

    try:
        tree = json.loads(
            text,
            parse_float=number(decimal),
            parse_int=number(integer),
            parse_constant=constant,
            object_pairs_hook=pairs,
        )
    except json.JSONDecodeError as error:
        raise refuse(f"{where}:{error.lineno}", f"is not JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise refuse(where, "is nested too deeply or holds a number that is too long") from None
    _check_tree(tree, where)
    return tree


@dataclass(frozen=True)
class _Refused:
    """A number that is not read, and why: the parser does not know in which field it stands."""

    remedy: str
    written: str


def _check_tree(tree: Any, where: str) -> None:
    level: list[tuple[str, Any]] = [("", tree)]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise refuse(where, f"is nested deeper than {MAX_DEPTH} levels", field=_shorten(level[0][0]))
        below: list[tuple[str, Any]] = []
        for field, node in level:
            _check_value(node, field, where)
            if isinstance(node, dict):
                for key, value in node.items():
                    _check_value(key, field, where)
                    below.append((f"{field}.{key}" if field else key, value))
            elif isinstance(node, list):
                below += [(f"{field}.{place}", value) for place, value in enumerate(node)]
        level = below


def _check_value(value: Any, field: str, where: str) -> None:
    if isinstance(value, str) and UNPRINTABLE.search(value):
        raise refuse(where, "holds control characters; write plain text", field=field, value=_shorten(value))
    if isinstance(value, _Refused):
        raise refuse(where, value.remedy, field=field, value=_shorten(value.written))


def check_nesting(text: str, where: str) -> None:
    """Refuse deep nesting event by event: the composer recurses in C, where depth ends the process.

    Raises
    ------
    InputError
        With the line on which it is too deep.
    yaml.YAMLError
        If it is no YAML.
    """
    if len(text) < SHALLOW:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise refuse(f"{where}:{line}", f"is nested deeper than {MAX_DEPTH} levels")


def _parse_yaml(text: str, where: str) -> Any:
    try:
        check_nesting(text, where)
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise refuse(f"{where}:{line}", f"is not YAML: {error.problem or error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise refuse(where, f"is not YAML: {str(error).splitlines()[0]}") from None
    return None if root is None else _YamlTree(where).build(root, 1)


class _YamlTree:
    """Turns YAML nodes into plain values; counts nodes, so that aliases cannot explode."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0
        self.path: list[str] = []

    def build(self, node: yaml.Node, depth: int) -> Any:
        self.count += 1
        place = f"{self.where}:{node.start_mark.line + 1}"
        if depth > MAX_DEPTH:
            raise refuse(place, f"is nested deeper than {MAX_DEPTH} levels")
        if self.count > MAX_NODES:
            raise refuse(place, "holds too many values; aliases may repeat themselves")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._below(str(number), child, depth) for number, child in enumerate(node.value)]
        return self._scalar(node, place)

    def _below(self, name: str, node: yaml.Node, depth: int) -> Any:
        self.path.append(name)
        built = self.build(node, depth + 1)
        self.path.pop()
        return built

    @property
    def _field(self) -> str:
        return ".".join(self.path)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = f"{self.where}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise refuse(place, "a field name must be plain text")
            key = self._plain(str(key_node.value), place)
            if key in found:
                raise refuse(place, "stands twice; keep one of them", field=_shorten(key))
            found[key] = self._below(key, value_node, depth)
        return found

    def _plain(self, text: str, place: str) -> str:
        """Return text without control characters, which would act on the terminal that prints it."""
        if UNPRINTABLE.search(text):
            remedy = "holds control characters; write plain text"
            raise refuse(place, remedy, field=self._field, value=_shorten(text))
        return text

    def _scalar(self, node: yaml.Node, place: str) -> Any:
        tag, text = str(node.tag).removeprefix("tag:yaml.org,2002:"), str(node.value)
        if tag in ("str", "timestamp"):
            return self._plain(text, place)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("true", "yes", "on")
        remedy = "write a finite decimal number or plain text"
        try:
            if tag == "int":
                return integer(text)
            if tag == "float":
                return decimal(text)
        except ValueError as error:
            remedy = f"{error}; {remedy}"
        raise refuse(place, remedy, field=self._field, value=_shorten(text))
