"""How a batch is asked to end: a signal leaves a note that is read between two steps, never inside one.

An interrupt raised in the middle of a serialiser or a transaction would lose what was just being written.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noted_signals() -> Iterator[Callable[[], bool]]:
    """Note SIGINT and SIGTERM while the block runs; the function given says whether one has come.

    Signals can be caught in the main thread only; elsewhere nothing is noted.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        del number, frame
        came = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
