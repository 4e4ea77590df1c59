"""The loop of one worker process: takes jobs from a pipe until its parent closes it or dies."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from shardproof.instances.errors import InputError
from shardproof.solver.batch.answer import Answer, Job, News, failure
from shardproof.solver.batch.engine import TellingWork, Work

_GC_THRESHOLD = 100_000


def serve(pipe: Connection, lifeline: Connection, work: Work, telling: bool = False) -> None:
    """Answer jobs one after another; end when the pipe closes. ``telling``: somebody listens on the way."""
    _prepare(lifeline)

    def tell(content: Any) -> None:
        with contextlib.suppress(OSError):
            pipe.send(News(content))

    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
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


def _prepare(lifeline: Connection) -> None:
    # Ctrl-C reaches the whole process group; only the parent acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # If memory runs out, the kernel shall take a worker, never the process that holds the ledger.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # What was imported stays, and a solve makes many short-lived records: look for cycles less often.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 50)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()


def _end_with_parent(lifeline: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(0)
