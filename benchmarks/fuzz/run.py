"""The loop of the fuzzer: makes inputs, feeds them to a reader, and judges what comes back."""

from __future__ import annotations

import random
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.fuzz.readers import REFUSALS, Reader, readers
from shardproof.instances.errors import UNPRINTABLE

SECONDS = 5
GROWTH_BYTES = 10**9


class HangError(Exception):
    """A reader took longer than it may."""


def fuzz(*, count: int, seed: int, only: Sequence[str], say: Callable[[str], object]) -> list[str]:
    """Fuzz every reader with ``count`` inputs; return the failures, one line each."""
    failures: list[str] = []
    for reader in readers():
        if only and reader.name not in only:
            continue
        started, refused, found = time.process_time(), 0, list[str]()
        for number in range(seed, seed + count):
            verdict = _one(reader, number)
            refused += verdict == "refused"
            if verdict not in ("read", "refused"):
                found.append(f"{reader.name} seed {number}: {verdict}")
                say(found[-1])
        seconds = time.process_time() - started
        say(f"{reader.name}: {count} inputs, {refused} refused, {len(found)} failures, {seconds:.0f} CPU s")
        failures += found
    return failures


def _one(reader: Reader, number: int) -> str:
    chance = random.Random(f"{reader.name} {number}")
    content, suffix = reader.make(chance)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"fuzzed{suffix}"
        path.write_bytes(content)
        before = _peak()
        try:
            with _limited():
                reader.read(path)
        except REFUSALS as error:
            text = error.format_message() if hasattr(error, "format_message") else str(error)
            return _judged(text, reader)
        except HangError:
            return f"longer than {SECONDS} s"
        except Exception as error:  # the fuzzer's work is to find what should not be raised
            return f"{type(error).__name__}: {str(error)[:200]}"
        return "read" if _peak() - before <= GROWTH_BYTES else "more than 1 GB"


def _judged(text: str, reader: Reader) -> str:
    if not text.strip():
        return "an empty message"
    if UNPRINTABLE.search(text) and reader.name != "flags":
        return f"control characters in the message: {text[:100]!r}"
    if reader.names_file and "fuzzed" not in text and "passwd" not in text:
        return f"the message names no file: {text[:100]!r}"
    return "refused"


@contextmanager
def _limited() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
