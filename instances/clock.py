"""The clock by which every time limit is measured: the wall's, or one that counts this process's own work.

Where many share a machine, a second of the wall is not a second of work: whoever serves them has limits measured in the
processor time of the solve. Whoever wants it stopped has the clock say that all time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Clock = Callable[[], float]
"""Seconds since a moment of its own; never runs backwards."""

_CLOCK: ContextVar[Clock] = ContextVar("clock", default=time.monotonic)


def now() -> float:
    """Return the seconds of the clock that measures time limits here."""
    return _CLOCK.get()()


@contextmanager
def measured_by(clock: Clock) -> Iterator[None]:
    """Measure every time limit inside by another clock."""
    before = _CLOCK.set(clock)
    try:
        yield
    finally:
        _CLOCK.reset(before)
