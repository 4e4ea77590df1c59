"""Text within a terminal's width: prose is wrapped between words, a command only between its flags."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator

UNKNOWN_WIDTH = 80
"""Columns where the output is no terminal."""
_NARROWEST = 40
_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:vllm|python|mpirun|trtllm-serve) ")
_SETTING = re.compile(r"[a-z_]+: \S")
_FLAG = re.compile(r" (?=-{1,2}[A-Za-z])")


def terminal_width() -> int:
    """Return the columns of the terminal (``COLUMNS`` outranks it), 80 where there is none."""
    return max(_NARROWEST, shutil.get_terminal_size((UNKNOWN_WIDTH, 24)).columns)


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, in the singular for one: ``1 GPU``, ``2 GPUs``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def wrapped(line: str, *, width: int, first: str = "", rest: str = "") -> str:
    """Wrap prose between words, never inside one; ``first`` and ``rest`` stand before its lines."""
    return textwrap.fill(
        line, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def in_short(lines: Iterable[str]) -> Iterator[str]:
    """Write a summary as sentences; the first says that it is one."""
    for place, line in enumerate(lines):
        yield f"{line[:1].upper()}{line[1:]}." if place else f"In short: {line}."


def item(line: str, *, width: int) -> str:
    """Wrap one item of a list; its further lines stand below its first word."""
    return wrapped(line, width=width, first="  - ", rest="    ")


def outline(text: str, *, width: int) -> str:
    """Wrap every line of a text; what is indented, or an item, keeps its indent."""
    return "\n".join(_within(line, width) for line in text.splitlines())


def _within(line: str, width: int) -> str:
    bare = line.lstrip(" ")
    indent = line[: len(line) - len(bare)]
    return wrapped(bare, width=width, first=indent, rest=indent + ("  " if bare.startswith("- ") else ""))


def engine_lines(lines: tuple[str, ...], *, width: int) -> Iterator[str]:
    """Lay out an engine's commands and settings so that they can be copied; notes beside them are items."""
    settings = False
    for line in lines:
        if _COMMAND.match(line):
            yield command(line, width=width)
        elif _SETTING.match(line):
            if not settings:
                yield "  config.yaml:"
            yield f"    {line}"
        else:
            yield item(line, width=width)
        settings = bool(_SETTING.match(line))


def command(line: str, *, width: int) -> str:
    """Break a command before flags alone, with the shell's continuation; a flag stays with its value."""
    rows, indent = [""], "  "
    for word in _FLAG.split(line):
        longer = f"{rows[-1]} {word}" if rows[-1] else f"{indent}{word}"
        if len(longer) + 2 > width and rows[-1]:
            indent = "    "
            rows.append(f"{indent}{word}")
        else:
            rows[-1] = longer
    return " \\\n".join(rows)
