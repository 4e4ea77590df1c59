"""How to search, and what a search reports while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from shardproof.instances.clock import now

if TYPE_CHECKING:
    from shardproof.solver.search.refusals import Refusals

Search = Literal["auto", "both", "cp-sat"]
"""auto: exact search over chains, CP-SAT for cases that it leaves open; both: CP-SAT is also held against the
answer; cp-sat: CP-SAT alone on the whole program."""


@dataclass(frozen=True)
class Progress:
    """What a live line shows: the best so far, its bound, seconds since the start.

    Both are GPUs, or ``scale`` of them make one of ``unit``.
    """

    incumbent: int | None
    bound: int | None
    seconds: float
    level: str
    unit: str = "GPUs"
    scale: int = 1


@dataclass(frozen=True)
class Settings:
    """How to search.

    ``workers`` and ``seed`` are CP-SAT's; ``certify`` has the checker accept the proof; ``explain`` finds out
    which limits and engine rules keep the plan from fewer GPUs, ``why_none`` only where there is no plan. ``floor`` is
    a number of GPUs known to be necessary: the search starts there, and its proof of the bound does not rely on it.
    ``refusals``: what searches before were refused, to read from and to add to; no proof relies on it either.
    """

    time_limit_s: float | None = None
    workers: int = 2
    seed: int = 0
    search: Search = "auto"
    certify: bool = True
    explain: bool = True
    why_none: bool = False
    floor: int = 1
    on_progress: Callable[[Progress], None] | None = None
    refusals: Refusals | None = None

    def explains(self, status: str) -> bool:
        """Whether an answer of that status comes with its reasons."""
        return self.explain or (self.why_none and status == "infeasible")

    @property
    def told(self) -> Callable[[Progress], None] | None:
        """Whom a search tells how far it is: who asked for it, else who watches all that is searched meanwhile."""
        return self.on_progress or _WATCHER.get()


_WATCHER: ContextVar[Callable[[Progress], None] | None] = ContextVar("watcher", default=None)


def report(gpus: int | None, bound: int, *, started: float, level: str = "gpus") -> None:
    """Tell whoever watches how far a search is that takes no settings."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher(Progress(gpus, bound, now() - started, level))


@contextmanager
def watching(watcher: Callable[[Progress], None]) -> Iterator[None]:
    """Have every search inside tell how far it is, those too that a verb makes on its way."""
    before = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(before)


@dataclass(frozen=True)
class Rival:
    """The best plan known of other problems that answer the same question: what does not beat it is of no use.

    ``gpus``: a plan of more is not looked for. ``ttft``: one of as many GPUs is only taken further where it is faster
    (ns; ``None``: nothing is known of it).
    """

    gpus: int
    ttft: int | None
