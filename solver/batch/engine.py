"""What every engine offers: slots for jobs, and finished jobs as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from shardproof.solver.batch.answer import Answer, Done, Job

Work = Callable[[Job], Answer]
"""Solves one job; importable by name, since other processes call it."""


@runtime_checkable
class TellingWork(Protocol):
    """Work that can also say on its way how far it is."""

    def telling(self, job: Job, tell: Callable[[Any], None]) -> Answer:
        """Solve one job, and tell what is known of it so far."""


ATTEMPTS = 2
"""A job whose worker dies is tried once more, then reported as failed."""

PRELOAD = ("shardproof.solver.batch.work", "shardproof.solver.answer", "shardproof.solver.solve")
"""Modules that worker processes share instead of each importing them."""


@dataclass(frozen=True)
class TaskLimits:
    """What one task may use: seconds until its worker is stopped, and bytes of memory (``None``: any).

    ``own_work``: seconds are those of the worker's processor, which others on the machine do not lengthen, as are the
    time limits of its solves; by the wall it then has `PATIENCE` times as long.
    """

    seconds: float
    memory_bytes: int | None = None
    own_work: bool = False


PATIENCE = 10
"""How much longer a task may take by the wall than its own work may, so that one that only waits ends too."""


class Engine(Protocol):
    """Runs jobs somewhere."""

    @property
    def slots(self) -> int:
        """Jobs that run at once."""

    def submit(self, job: Job) -> None:
        """Start a job; the caller keeps no more than `slots` in flight."""

    def collect(self, timeout_s: float) -> list[Done]:
        """Wait for finished jobs, at most ``timeout_s``."""

    def close(self) -> None:
        """Stop every worker at once."""


def died_twice(how: str) -> str:
    """Say that a job was given up."""
    return f"its worker died {ATTEMPTS} times, the last time {how}"


def too_long(limits: TaskLimits) -> str:
    """Say that a job was stopped for its time."""
    return f"did not stop within its time limit; ended after {limits.seconds:g} s"


def too_large(limits: TaskLimits) -> str:
    """Say that a job was stopped for its memory."""
    return f"exceeded its memory limit of {(limits.memory_bytes or 0) / 10**9:g} GB"
