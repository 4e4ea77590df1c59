"""Jupyter notebooks: the sources of their cells with the lines that they stand on; outputs are not read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shardproof.solver.documents.tree import Node

MAX_CELLS = 2_000


@dataclass(frozen=True)
class Part:
    """A piece of a cell: ``language`` markdown, python or shell; ``lines`` with their numbers in the file."""

    language: str
    lines: tuple[tuple[int, str], ...]

    @property
    def text(self) -> str:
        """The piece as one text."""
        return "\n".join(text for _, text in self.lines)


def is_notebook(tree: Node) -> bool:
    """Whether a JSON tree is a notebook."""
    return tree.get("nbformat") is not None and tree.get("cells") is not None


def parts_of(tree: Node) -> tuple[Part, ...]:
    """Return the pieces of all cells, in order; magics (``!``, ``%%bash``) are shell, the rest Python."""
    found: list[Part] = []
    for cell in tree.each("cells")[:MAX_CELLS]:
        lines = _source(cell)
        if cell.text("cell_type") == "markdown":
            found.append(Part("markdown", lines))
        elif cell.text("cell_type") == "code" and lines:
            found += _code(lines)
    return tuple(part for part in found if part.text.strip())


def _source(cell: Node) -> tuple[tuple[int, str], ...]:
    source = cell.get("source")
    if source is None:
        return ()
    if source.scalar is not None:
        return tuple((source.line, text) for text in source.scalar.split("\n"))
    return tuple((item.line, (item.scalar or "").rstrip("\n")) for item in source.items or ())


def _code(lines: tuple[tuple[int, str], ...]) -> list[Part]:
    head = lines[0][1].strip()
    if re.match(r"^%%(?:bash|sh|script|shell)", head):
        return [Part("shell", lines[1:])]
    if head.startswith("%%writefile"):
        name = head.split()[-1]
        language = "python" if name.endswith(".py") else "shell" if name.endswith(".sh") else "other"
        return [Part(language, lines[1:])]
    shell: list[tuple[int, str]] = []
    python: list[tuple[int, str]] = []
    going_on = False
    for number, text in lines:
        if going_on or re.match(r"^\s*[!%]", text):
            shell.append((number, text if going_on else re.sub(r"^\s*(?:!+|%(?:env|sx|system)?)\s*", "", text)))
            going_on = text.rstrip().endswith("\\")
            python.append((number, ""))
        else:
            python.append((number, text))
    return [Part("python", tuple(python))] + ([Part("shell", tuple(shell))] if shell else [])
