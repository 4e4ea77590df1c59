"""The process pool: long-lived workers on this machine, each watched for death, time and memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from typing import Any

from shardproof.formulations.deployment.remembered import STORES
from shardproof.solver.batch.answer import Answer, Done, Job, News, failure
from shardproof.solver.batch.engine import ATTEMPTS, PATIENCE, TaskLimits, Work, died_twice, too_large, too_long
from shardproof.solver.batch.worker import name_of, processor_seconds, resident_bytes, serve

RECYCLE_BYTES = 700_000_000
"""A worker that holds more than this after a job is replaced, so that fragments do not add up."""

SUBJECTS_HELD = STORES
"""Subjects of a worker's latest jobs, of which it still holds tables."""

_WATCH_S = 0.1


@dataclass
class _Worker:
    """One process, its pipe, and the job that it works on."""

    process: ForkServerProcess | SpawnProcess
    pipe: Connection
    lifeline: Connection
    job: Job | None = None
    attempts: int = 0
    started: float = field(default=0.0)
    worked: float | None = None
    subjects: deque[str] = field(default_factory=lambda: deque(maxlen=SUBJECTS_HELD))


class PoolEngine:
    """Workers that each answer many jobs; a worker that dies is replaced and its job tried once more."""

    def __init__(
        self,
        work: Work,
        *,
        processes: int,
        limits: TaskLimits,
        preload: tuple[str, ...] = (),
        heard: Callable[[Job, Any], None] | None = None,
    ) -> None:
        """Start nothing yet: workers start with the first jobs.

        ``preload``: modules imported only once; ``heard``: called in `collect` with what workers tell on their way.
        """
        self._work = work
        self._heard = heard
        self._limits = limits
        self._processes = processes
        self._context = _context(preload)
        self._workers: list[_Worker] = []

    @property
    def slots(self) -> int:
        """Jobs that run at once."""
        return self._processes

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker: one that had its subject, else the one that holds least."""
        idle = [worker for worker in self._workers if worker.job is None]
        worker = min(idle, key=lambda w: (job.subject not in w.subjects, len(w.subjects)), default=None)
        if worker is None or (worker.subjects and job.subject not in worker.subjects and self._has_room):
            worker = self._start()
            self._workers.append(worker)
        self._give(worker, job, attempts=1)

    @property
    def _has_room(self) -> bool:
        return len(self._workers) < self._processes

    def is_held_up(self, subject: str) -> bool:
        """Whether workers that had a subject are all at work, while others are idle."""
        known = [worker for worker in self._workers if subject in worker.subjects]
        return bool(known) and all(worker.job is not None for worker in known)

    def cancel(self, fingerprint: str) -> bool:
        """Stop the worker of a job at once; the job has no answer. Returns whether it was running."""
        worker = next((w for w in self._workers if w.job is not None and w.job.fingerprint == fingerprint), None)
        if worker is not None:
            self._remove(worker)
        return worker is not None

    def stop(self, fingerprint: str) -> bool:
        """Have a job's time be over, so that its answer is what is known by then. Returns whether it was running."""
        worker = next((w for w in self._workers if w.job is not None and w.job.fingerprint == fingerprint), None)
        if worker is not None:
            with contextlib.suppress(OSError):
                worker.lifeline.send_bytes(name_of(fingerprint))
        return worker is not None

    def collect(self, timeout_s: float, *, also: Sequence[Connection] = ()) -> list[Done]:
        """Wait for finished jobs; replace workers that died, and stop those over their limits.

        ``also``: pipes that end the waiting when they can be read.
        """
        finished: list[Done] = []
        deadline = time.monotonic() + timeout_s
        while not finished and any(worker.job for worker in self._workers):
            handles = [*also, *(h for w in self._workers for h in (w.pipe, w.process.sentinel))]
            ready: set[object] = set(wait(handles, timeout=max(0.0, min(_WATCH_S, deadline - time.monotonic()))))
            for worker in list(self._workers):
                done = self._look_at(worker, ready)
                if done is not None:
                    finished.append(done)
            if time.monotonic() >= deadline or not ready.isdisjoint(also):
                break
        return finished

    def close(self) -> None:
        """Stop every worker at once."""
        for worker in self._workers:
            self._stop(worker)
        self._workers.clear()

    def _look_at(self, worker: _Worker, ready: set[object]) -> Done | None:
        if worker.pipe in ready and worker.job is not None:
            message = _received(worker.pipe)
            if isinstance(message, Answer):
                return self._finish(worker, message)
            if message is not None:
                self._listen(worker.job, message)
                return None
        if worker.process.sentinel in ready or worker.pipe in ready:
            return self._after_death(worker)
        return self._over_limits(worker) if worker.job is not None else None

    def _listen(self, job: Job, message: News) -> None:
        if self._heard is not None:
            self._heard(job, message.content)

    def _finish(self, worker: _Worker, answer: Answer) -> Done:
        assert worker.job is not None
        done = Done(job=worker.job, answer=answer, attempts=worker.attempts)
        worker.job = None
        if resident_bytes(worker.process.pid or 0) > RECYCLE_BYTES:
            self._remove(worker)
        return done

    def _after_death(self, worker: _Worker) -> Done | None:
        job, attempts, seconds = worker.job, worker.attempts, time.monotonic() - worker.started
        self._remove(worker)
        if job is None:
            return None
        if attempts >= ATTEMPTS:
            reason = died_twice(_how(worker.process.exitcode))
            return Done(job=job, answer=failure(reason, seconds=seconds), attempts=attempts)
        fresh = self._start()
        self._workers.append(fresh)
        self._give(fresh, job, attempts=attempts + 1)
        return None

    def _over_limits(self, worker: _Worker) -> Done | None:
        job, limits, seconds = worker.job, self._limits, time.monotonic() - worker.started
        assert job is not None
        large = limits.memory_bytes is not None and resident_bytes(worker.process.pid or 0) > limits.memory_bytes
        if not large and not self._is_late(worker, seconds):
            return None
        attempts = worker.attempts
        self._remove(worker)
        ended = failure(too_large(limits) if large else too_long(limits), seconds=seconds)
        return Done(job=job, answer=replace(ended, summary={"over_limits": True}), attempts=attempts)

    def _is_late(self, worker: _Worker, seconds: float) -> bool:
        """Whether a job that began so many seconds ago has used all its time."""
        limit = self._limits.seconds
        if seconds <= limit or not self._limits.own_work or worker.worked is None:
            return seconds > limit
        spent = processor_seconds(worker.process.pid or 0)
        return seconds > PATIENCE * limit or (spent is not None and spent - worker.worked > limit)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        far_end, lifeline = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=serve,
            args=(theirs, far_end, self._work, self._heard is not None, self._limits.own_work),
            daemon=True,
        )
        process.start()
        theirs.close()
        far_end.close()
        return _Worker(process=process, pipe=ours, lifeline=lifeline)

    def _give(self, worker: _Worker, job: Job, *, attempts: int) -> None:
        worker.job, worker.attempts, worker.started = job, attempts, time.monotonic()
        worker.worked = processor_seconds(worker.process.pid or 0)
        if job.subject:
            if job.subject in worker.subjects:
                worker.subjects.remove(job.subject)
            worker.subjects.append(job.subject)
        with contextlib.suppress(OSError):  # a worker that died meanwhile is noticed in collect
            worker.pipe.send(job)

    def _remove(self, worker: _Worker) -> None:
        self._stop(worker)
        self._workers.remove(worker)

    def _stop(self, worker: _Worker) -> None:
        if worker.process.is_alive() and worker.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
        worker.pipe.close()
        worker.lifeline.close()


def _context(preload: tuple[str, ...]) -> ForkServerContext | SpawnContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _received(pipe: Connection) -> Answer | News | None:
    """Return what the worker sent; nothing when it died while sending."""
    try:
        message = pipe.recv()
    except (EOFError, OSError):
        return None
    return message if isinstance(message, Answer | News) else None


def _how(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"by {name}" + (" (the kernel does so when memory runs out)" if name == "SIGKILL" else "")
