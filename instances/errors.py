"""Errors that a user can cause, all under one root.

.. code-block:: text

    ShardproofError
    +-- InputError         a file, flag or name is wrong: says file, field, value and remedy
    +-- CheckFailed        a plan or certificate failed its check
    +-- InternalError      our own bug: an invalid model, two answers that contradict each other

"No plan exists" is an answer (`shardproof.solver.result.Result`), never an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


class ShardproofError(Exception):
    """Root of every error that this project raises on purpose."""


UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters and what turns the direction of text: a terminal would act on them."""


def printable(text: str) -> str:
    """Return text from outside with control characters written as escapes."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what stands there, and what to write instead."""

    where: str
    field: str
    value: str
    remedy: str

    def __str__(self) -> str:
        """Return one line."""
        field = f"{_shortened(self.field, 200)}: " if self.field else ""
        value = f"{_shortened(self.value, 200)}: " if self.value else ""
        return printable(f"{_shortened(self.where, 500)}: {field}{value}{_shortened(self.remedy, 2000)}")


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


MOST_SHOWN = 20
"""Problems of one file that a message lists."""
LONGEST_LIST = 8000
"""Characters of a list of problems, beyond its first one."""


class InputError(ShardproofError):
    """What the user gave is wrong; the problems found are listed, one a line, as far as anybody reads them."""

    def __init__(self, problems: str | Iterable[Problem]) -> None:
        """Take a message, or the problems that make it up."""
        self.problems = () if isinstance(problems, str) else tuple(problems)
        super().__init__(printable(problems) if isinstance(problems, str) else _listed(self.problems))


def _listed(problems: tuple[Problem, ...]) -> str:
    lines, length = list[str](), 0
    for problem in problems[:MOST_SHOWN]:
        line = str(problem)
        length += len(line)
        if lines and length > LONGEST_LIST:
            break
        lines.append(line)
    left = len(problems) - len(lines)
    return "\n".join(lines + ([f"... and {left} more"] if left else []))


class CheckFailed(ShardproofError):
    """A plan or a certificate failed its check."""


class InternalError(ShardproofError):
    """Something that cannot be: a bug of ours, reported with what contradicts what."""
