"""The one door to the terminal: messages and answers within its width (80 columns where there is none), JSON, tables.

Nothing that came from outside reaches a terminal as a control character; colours are those that a verb asks for.
"""

from __future__ import annotations

import json
from typing import Any

import click

from shardproof.instances.errors import printable
from shardproof.solver.writers.layout import outline, terminal_width, wrapped

CONTINUED = "  "
"""What stands before the further rows of a message."""


def tell(message: str) -> None:
    """Say on stderr what is no part of the answer: errors, notes, where something was written.

    Each line is one message; where it is wrapped, its further rows are indented.
    """
    width = terminal_width()
    rows = (wrapped(line, width=width, rest=CONTINUED) for line in printable(message).splitlines())
    click.echo("\n".join(rows), err=True)


def say(text: str) -> None:
    """Print prose on stdout."""
    click.echo(outline(printable(text), width=terminal_width()))


def show(text: str, *, colour: bool = False) -> None:
    """Print what is laid out already: tables, commands to copy, paths; escapes stay only where colours are asked."""
    click.echo(text if colour else printable(text), color=colour)


def print_json(tree: Any, *, indent: int | None = 2, ascii_only: bool = True) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(tree, indent=indent, ensure_ascii=ascii_only))
