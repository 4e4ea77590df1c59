"""The loop of the fuzzer: makes inputs, feeds them to a reader, and judges what comes back."""

from __future__ import annotations

import faulthandler
import random
import re
import resource
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from benchmarks.fuzz.reader import REFUSALS, Reader
from benchmarks.fuzz.readers import readers
from shardproof.instances.clock import measured_by
from shardproof.instances.errors import UNPRINTABLE, InputError, Problem

SECONDS = 5
GROWTH_BYTES = 10**9
LARGEST_BYTES = 64 * 10**6
"""Bytes of an input at most: changes upon changes can multiply it, and the fuzzer's own copies would count."""
STUCK_SECONDS = 300
"""Wall time after which a call that no signal can interrupt ends the process, with a trace of where it stands."""
LONGEST_MESSAGE = 20_000
"""Characters of a message that a terminal can still show."""

_LINE = re.compile(r":\d+$")
_WHOLE = re.compile(
    r"is (?:not|no|another|larger|nested|a folder|encrypted|compressed|empty|damaged|binary)|cannot be read|holds "
    r"|the top level|has (?:no known|more than)|was written by|states no|in one way|must be"
)
"""How messages about a file as a whole begin: they have no field to name."""
_FIELD_WORDS = re.compile(
    r"[a-z]+_[a-z_]+|'[^']+'|--[a-z]|\b(?:limits|devices|scenarios?|percentiles|axis|axes|calibrations|capacities|requests|pools?|stages|groups)\b"
)
"""What names a field in the words of a remedy: rules about several fields say them there."""


class HangError(BaseException):
    """A reader took longer than it may; no handler of errors catches it."""


def fuzz(
    *, count: int, seed: int, only: Sequence[str], say: Callable[[str], object], seconds: float = SECONDS
) -> list[str]:
    """Fuzz every reader with ``count`` inputs of at most so many seconds each; return the failures, one line each."""
    failures: list[str] = []
    for reader in readers():
        if only and reader.name not in only and reader.family not in only:
            continue
        started, refused, found = time.process_time(), 0, list[str]()
        for number in range(seed, seed + count):
            verdict = _one(reader, number, seconds)
            refused += verdict == "refused"
            if verdict not in ("read", "refused"):
                found.append(f"{reader.name} seed {number}: {verdict}")
                say(found[-1])
        spent = time.process_time() - started
        tallied = f"{count} inputs, {refused} refused, {len(found)} failures, {spent:.0f} CPU s"
        say(f"{reader.name} ({reader.family}): {tallied}")
        failures += found
    return failures


def _one(reader: Reader, number: int, seconds: float) -> str:
    chance = random.Random(f"{reader.name} {number}")
    content, suffix = reader.make(chance)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"fuzzed{suffix}"
        path.write_bytes(content[:LARGEST_BYTES])
        before = _restarted_peak()
        try:
            with _limited(seconds), measured_by(time.process_time), warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)  # numbers that went out of an array's range
                reader.read(path)
            verdict = "read"
        except REFUSALS as error:
            verdict = judged(error, reader)
        except HangError:
            verdict = f"longer than {seconds:g} s"
        except Exception as error:  # the fuzzer's work is to find what should not be raised
            verdict = f"{type(error).__name__}: {str(error)[:300]}"
        return verdict if _peak() - before <= GROWTH_BYTES else f"more than 1 GB ({verdict})"


def judged(error: Exception, reader: Reader) -> str:
    """Say what is wrong with a refusal, if anything: it names file and field, and can be shown."""
    text = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    if not text.strip():
        return "an empty message"
    if UNPRINTABLE.search(text) and reader.name != "flags":  # click's own, which `cli.main` prints safely
        return f"control characters in the message: {text[:100]!r}"
    if len(text) > LONGEST_MESSAGE and reader.name != "flags":
        return f"a message of {len(text)} characters: {text[:100]!r}"
    if reader.names_file and "fuzzed" not in text and "passwd" not in text:
        return f"the message names no file: {text[:100]!r}"
    nameless = [one for one in getattr(error, "problems", ()) if not names_a_place(one)]
    if nameless and isinstance(error, InputError):
        return f"the message names no field: {str(nameless[0])[:200]!r}"
    return "refused"


def names_a_place(problem: Problem) -> bool:
    """Whether a message says where: a field, a line, or that it is about the file as a whole."""
    if problem.field or _LINE.search(problem.where):
        return True
    return bool(_WHOLE.search(problem.remedy) or _FIELD_WORDS.search(problem.remedy))


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _restarted_peak() -> int:
    """Let Linux count the process's peak anew, and return where it stands."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> int:
    """Peak of the process's memory since it was restarted, bytes; elsewhere than on Linux, since it began."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
