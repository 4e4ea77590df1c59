"""The loop of one worker process: takes jobs from a pipe until its parent closes it or dies."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from shardproof.instances.clock import Clock, measured_by
from shardproof.instances.errors import InputError
from shardproof.solver.batch.answer import Answer, Job, News, failure
from shardproof.solver.batch.engine import TellingWork, Work

_GC_THRESHOLD = 100_000
_ALL_TIME_S = 1e9


def serve(pipe: Connection, lifeline: Connection, work: Work, telling: bool = False, own_work: bool = False) -> None:
    """Answer jobs one after another; end when the pipe closes.

    ``telling``: somebody listens on the way. ``own_work``: time limits are those of this process's own work. What comes
    over the ``lifeline`` names a job that shall stop: its time is over at once.
    """
    stops = _Stops()
    _prepare(lifeline, stops)
    clock = stops.clock(time.process_time if own_work else time.monotonic)

    def tell(content: Any) -> None:
        with contextlib.suppress(OSError):
            pipe.send(News(content))

    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        stops.at_work = name_of(job.fingerprint)
        with measured_by(clock):
            answer = answer_job(work, job, tell if telling else None)
        with contextlib.suppress(OSError):
            pipe.send(answer)


def answer_job(work: Work, job: Job, tell: Callable[[Any], None] | None = None) -> Answer:
    """Solve one job; what goes wrong becomes a failed answer that says so, and the others go on."""
    started = time.perf_counter()
    try:
        return work.telling(job, tell) if tell is not None and isinstance(work, TellingWork) else work(job)
    except InputError as error:
        return Answer("refused", {}, None, time.perf_counter() - started, reason=str(error))
    except MemoryError:
        return failure("ran out of memory", seconds=time.perf_counter() - started)
    except Exception as error:
        # Not swallowed: the reason stands in the row, and a bug in one task must not cost the other ones.
        return failure(f"{type(error).__name__}: {error}", seconds=time.perf_counter() - started)


def resident_bytes(pid: int) -> int:
    """Memory that a process holds; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float | None:
    """Processor time that a process has used; ``None`` where the system does not say."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def name_of(fingerprint: str) -> bytes:
    """Return the name of a job between processes, however long its fingerprint is."""
    return hashlib.sha256(fingerprint.encode()).digest()


class _Stops:
    """Which job is at work, and which one shall stop."""

    def __init__(self) -> None:
        self.at_work = self.stopped = b""

    def clock(self, clock: Clock) -> Clock:
        """Return a clock on which all time is over once the job at work shall stop."""

        def time_of() -> float:
            return clock() + (_ALL_TIME_S if self.stopped and self.stopped == self.at_work else 0.0)

        return time_of


def _prepare(lifeline: Connection, stops: _Stops) -> None:
    # Ctrl-C reaches the whole process group; only the parent acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # If memory runs out, the kernel shall take a worker, never the process that holds the ledger.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # What was imported stays, and a solve makes many short-lived records: look for cycles less often.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 50)
    threading.Thread(target=_listen_to_parent, args=(lifeline, stops), daemon=True).start()


def _listen_to_parent(lifeline: Connection, stops: _Stops) -> None:
    """Note which job shall stop; end with the parent."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            stops.stopped = lifeline.recv_bytes()
    os._exit(0)
