"""Who imports whom: every import of the tree, those inside functions and for type checking included."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.oracles.places import ROOT

PACKAGES = ("instances", "formulations", "solver")


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def files(*folders: str) -> list[Path]:
    """Every module under some folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """Dotted name of a file below the root: ``solver.search.walk``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Dotted names that a file imports, as written but for the package's own name in front."""
    return tuple(_imported(tree_of(path)))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.removeprefix("shardproof.") for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            module = node.module.removeprefix("shardproof.")
            yield from (f"{module}.{name.name}" for name in node.names)


@cache
def graph(*folders: str) -> Mapping[str, set[str]]:
    """For each module of some folders, the modules of them that it imports."""
    paths = {name_of(path): path for path in files(*folders)}
    return {name: set(_modules(imported(path), paths)) - {name} for name, path in paths.items()}


def _modules(names: Iterable[str], known: Mapping[str, Path]) -> Iterator[str]:
    """The modules behind imported names: ``a.b.c`` is module ``a.b.c``, or something in ``a.b``."""
    for name in names:
        found = next((n for n in (name, name.rpartition(".")[0]) if n in known), None)
        if found is not None:
            yield found


def circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Return one circle of imports, first module again at its end (empty: there is none)."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for below in sorted(arrows[name]):
            found = walk(below, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := walk(name, []))), [])
