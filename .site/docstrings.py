"""Docstrings as Markdown: their formulas, tables and code are written in reStructuredText."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import griffe

MATH = re.compile(r"^\.\. math::[ ]*(.*(?:\n(?:[ ]{3,}.*|[ ]*(?=\n[ ]{3,})))*)", re.MULTILINE)
CODE = re.compile(r"^\.\. code-block:: (\w+)\n((?:\n|[ ]{3,}.*\n?)+)", re.MULTILINE)
TABLE = re.compile(r"^(=+(?: +=+)+)\n(.*)\n\1\n((?:.+\n)+?)\1$", re.MULTILINE)


class Markdown(griffe.Extension):
    """Rewrites every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = markdown_of(obj.docstring.value)


def markdown_of(text: str) -> str:
    """Return a docstring with formulas between dollars, pipe tables and fenced code."""
    text = MATH.sub(_formula, text)
    text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
    text = CODE.sub(lambda found: f"```{found[1]}\n{_dedent(found[2])}\n```\n", text)
    text = TABLE.sub(_table, text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _formula(found: re.Match[str]) -> str:
    return f"$$\n{_dedent(found[1])}\n$$\n"


def _dedent(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines() if line.strip())


def _table(found: re.Match[str]) -> str:
    ends = [match.span() for match in re.finditer("=+", found[1])]

    def cells(line: str) -> list[str]:
        starts = [start for start, _ in ends] + [None]
        return [line[first:last].strip().replace("|", r"\|") for first, last in pairwise(starts)]

    rows = [cells(found[2]), ["---"] * len(ends)]
    for line in found[3].splitlines():
        row = cells(line)
        if row[0]:
            rows.append(row)
        else:  # a cell goes on in the next line
            rows[-1] = [f"{above} {below}".strip() for above, below in zip(rows[-1], row, strict=True)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
