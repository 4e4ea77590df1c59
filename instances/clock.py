"""The clock by which every time limit is measured: the wall's, or one that counts this process's own work.

Where many share a machine, a second of the wall is not a second of work: whoever serves them has limits measured in the
processor time of the solve. Whoever wants it stopped has the clock say that all time is over.

What takes long without knowing of a limit (tables of a program, a placement of experts) asks again and again whether it
may go on (`check_time`); whoever has a limit says what such a question is answered with (`checked_by`).
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


Check = Callable[[], None]
"""Returns while there is time; raises what its owner catches once it is over."""

_CHECKS: ContextVar[tuple[Check, ...]] = ContextVar("checks", default=())


def check_time() -> None:
    """Go on, or end here: raises what those with a time limit around this have raised when it is over."""
    for check in _CHECKS.get():
        check()


@contextmanager
def checked_by(check: Check) -> Iterator[None]:
    """Have all work inside ask this check too whether there is time left."""
    before = _CHECKS.get()
    token = _CHECKS.set(before if check in before else (*before, check))
    try:
        yield
    finally:
        _CHECKS.reset(token)
