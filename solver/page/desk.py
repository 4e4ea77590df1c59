"""The desk: errands of every tab go to one pool of warm workers; what nobody waits for any more is dropped.

One thread feeds a pool such as `batch` uses. An errand goes to the worker that had its model and device before, whose
tables are still there, unless that one is busy for longer. Answers have workers of their own, so that no tab waits for
another one's proofs. Equal errands are done once, and their documents are kept.
"""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shardproof.solver.batch.answer import Answer, Done, Job
from shardproof.solver.batch.engine import PRELOAD, TaskLimits
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.pool import PoolEngine
from shardproof.solver.page.errands import Errand, Errands

KEPT_CHARACTERS = 64_000_000
"""Documents that are kept, in characters."""
LEAVE_RUNNING_S = 1.0
"""An errand that nobody waits for is stopped when it goes on for longer: most end by themselves, and are kept."""
PATIENCE_S = 0.2
"""An errand waits so long for the worker that holds tables of its subject; then any does it."""
MEMORY_BYTES = 4_000_000_000
_COLLECT_S = 60.0
_GRACE_FACTOR, _GRACE_S = 1.5, 10.0
AT_ONCE = frozenset({"answer", "names", "model", "read", "drop"})
"""Errands that somebody watches: their workers do nothing else."""
_RANKS = {"audit": 1, "export": 1, "certify": 2, "why": 3}
_LAST = 4
WARMING = {
    "device": "h100-sxm",
    "question": {"fields": {"model": "qwen3-8b", "isl": 128, "osl": 16, "batch_size": 1, "max_gpus": 1}},
}
"""What a fresh worker is asked, so that catalogue, curves and CP-SAT are loaded before anybody waits."""


@dataclass(frozen=True, eq=False)
class Listener:
    """Whoever waits for an errand; both are called on the desk's thread."""

    news: Callable[[Any], None]
    done: Callable[[Answer], None]


@dataclass(eq=False)
class _Flight:
    """One errand that waits or runs, and who wants it."""

    errand: Errand
    listeners: list[Listener] = field(default_factory=list)
    running: bool = False
    asked_at: float = field(default_factory=time.monotonic)
    dropped_at: float | None = None


class Desk:
    """Does errands for many listeners at once."""

    def __init__(self, settings: SolveSettings, *, processes: int, folder: str | None = None) -> None:
        """Start nothing yet. ``settings``: of each solve; ``processes``: errands at once; ``folder``: dropped files."""
        seconds = settings.time_limit_s * _GRACE_FACTOR + _GRACE_S
        self._engine = PoolEngine(
            Errands(settings, folder),
            processes=processes,
            limits=TaskLimits(seconds=seconds, memory_bytes=MEMORY_BYTES),
            preload=(*PRELOAD, "shardproof.solver.page.errands"),
            heard=self._hear,
        )
        self._processes = processes
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._bell, self._ring = multiprocessing.Pipe(duplex=False)
        self._flights: dict[str, _Flight] = {}
        self._waiting: list[tuple[int, int, str]] = []
        self._count = itertools.count()
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._kept_characters = 0
        self._open = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)

    def start(self) -> None:
        """Start the thread, and warm every worker with a first solve."""
        self._thread.start()
        for number in range(self._processes):
            self.ask(Errand("answer", {**WARMING, "worker": number}), Listener(_ignore, _ignore))

    def close(self) -> None:
        """Stop every worker at once."""
        self._do(self._stop)
        self._thread.join()

    def ask(self, errand: Errand, listener: Listener) -> None:
        """Have an errand done; an equal one that waits, runs or is kept answers both."""
        self._do(lambda: self._accept(errand, listener))

    def leave(self, errand: Errand, listener: Listener, *, at_once: bool = False) -> None:
        """Wait no longer; ``at_once``: stop it now if nobody else waits."""
        self._do(lambda: self._forget(errand, listener, at_once=at_once))

    def _do(self, step: Callable[[], None]) -> None:
        with self._lock:
            self._inbox.put(step)
            self._ring.send_bytes(b".")

    def _stop(self) -> None:
        self._open = False

    def _run(self) -> None:
        try:
            while self._open:
                self._take_steps()
                self._fill()
                self._gather()
        finally:
            self._engine.close()

    def _take_steps(self) -> None:
        """Do what was asked since; wait for it where nothing runs."""
        while self._bell.poll() or (self._open and not self._waiting and not self._running()):
            self._bell.recv_bytes()
            self._inbox.get()()

    def _accept(self, errand: Errand, listener: Listener) -> None:
        kept = self._kept.get(errand.key)
        if kept is not None:
            self._kept.move_to_end(errand.key)
            listener.done(kept)
            return
        flight = self._flights.get(errand.key)
        if flight is None:
            flight = self._flights[errand.key] = _Flight(errand)
            heapq.heappush(self._waiting, (_rank(errand), next(self._count), errand.key))
        flight.dropped_at = None
        flight.listeners.append(listener)

    def _forget(self, errand: Errand, listener: Listener, *, at_once: bool) -> None:
        flight = self._flights.get(errand.key)
        if flight is None or listener not in flight.listeners:
            return
        flight.listeners.remove(listener)
        if flight.listeners:
            return
        if not flight.running:
            del self._flights[errand.key]
        elif at_once:
            self._cancel(flight)
        else:
            flight.dropped_at = time.monotonic()

    def _cancel(self, flight: _Flight) -> None:
        self._engine.cancel(flight.errand.key)
        del self._flights[flight.errand.key]

    def _fill(self) -> None:
        """Give waiting errands to idle workers, the lowest rank first."""
        held = []
        while self._waiting and self._running() < self._processes:
            item = heapq.heappop(self._waiting)
            flight = self._flights.get(item[2])
            if flight is None or flight.running:
                continue
            subject = flight.errand.subject
            if time.monotonic() - flight.asked_at < PATIENCE_S and self._engine.is_held_up(subject):
                held.append(item)
                continue
            flight.running = True
            self._engine.submit(Job(item[2], flight.errand.kind, flight.errand, subject=subject))
        for item in held:
            heapq.heappush(self._waiting, item)

    def _running(self) -> int:
        return sum(flight.running for flight in self._flights.values())

    def _gather(self) -> None:
        dropped = [flight for flight in self._flights.values() if flight.dropped_at is not None]
        wait = PATIENCE_S / 2 if self._waiting else LEAVE_RUNNING_S / 4 if dropped else _COLLECT_S
        for done in self._engine.collect(wait, also=(self._bell,)):
            self._finish(done)
        for flight in dropped:
            left = flight.dropped_at
            if left is not None and time.monotonic() - left > LEAVE_RUNNING_S and flight.errand.key in self._flights:
                self._cancel(flight)

    def _finish(self, done: Done) -> None:
        key = done.job.fingerprint
        flight = self._flights.pop(key, None)
        self._keep(key, done.answer)
        for listener in flight.listeners if flight else ():
            listener.done(done.answer)

    def _keep(self, key: str, answer: Answer) -> None:
        """Keep a document that another try would not better: a refusal is kept, a failure is not."""
        size = len(answer.document or "") + len(key)
        final = answer.status == "refused" or answer.summary.get("final", False)
        if not final or size > KEPT_CHARACTERS // 8 or key in self._kept:
            return
        self._kept[key] = answer
        self._kept_characters += size
        while self._kept_characters > KEPT_CHARACTERS:
            old, dropped = self._kept.popitem(last=False)
            self._kept_characters -= len(dropped.document or "") + len(old)

    def _hear(self, job: Job, content: Any) -> None:
        flight = self._flights.get(job.fingerprint)
        for listener in flight.listeners if flight else ():
            listener.news(content)


def _rank(errand: Errand) -> int:
    return 0 if errand.kind in AT_ONCE else _RANKS.get(errand.kind, _LAST)


def _ignore(content: Any) -> None:
    del content


class Desks:
    """Two desks: one for what somebody watches, one for proofs, reasons and whatever else may take its time."""

    def __init__(self, settings: SolveSettings, *, processes: int, others: int = 2, folder: str | None = None) -> None:
        """Start nothing yet. ``processes``: answers at once; ``others``: workers of everything else."""
        self._watched = Desk(settings, processes=processes, folder=folder)
        self._others = Desk(settings, processes=others, folder=folder)

    def start(self) -> None:
        """Start both, the one for answers first."""
        self._watched.start()
        self._others.start()

    def close(self) -> None:
        """Stop every worker at once."""
        self._watched.close()
        self._others.close()

    def ask(self, errand: Errand, listener: Listener) -> None:
        """Have an errand done at its desk."""
        self._of(errand).ask(errand, listener)

    def leave(self, errand: Errand, listener: Listener, *, at_once: bool = False) -> None:
        """Wait no longer at its desk."""
        self._of(errand).leave(errand, listener, at_once=at_once)

    def _of(self, errand: Errand) -> Desk:
        return self._watched if errand.kind in AT_ONCE else self._others
