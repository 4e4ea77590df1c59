"""The desk: errands of every tab go to one pool of warm workers; what nobody waits for any more is dropped.

One thread feeds a pool such as `batch` uses. An errand goes to the worker that had its model and device before, whose
tables are still there, unless that one is busy for longer. Answers have workers of their own, so that no tab waits for
another one's proofs; tabs take turns. Equal errands are done once, and their documents are kept. Time limits count the
work of a solve alone, neither its waiting nor that of others. One that does not stop at its limit is ended, and what it
told on its way is the answer.
"""

from __future__ import annotations

import json
import multiprocessing
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

from shardproof.solver.batch.answer import Answer, Job, failure
from shardproof.solver.batch.engine import PRELOAD, TaskLimits
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.pool import PoolEngine
from shardproof.solver.page.errands import Errand, Errands
from shardproof.solver.page.turns import Turns

KEPT_CHARACTERS = 64_000_000
"""Documents that are kept, in characters."""
LEAVE_RUNNING_S = 1.0
"""An errand that nobody waits for is stopped when it goes on for longer: most end by themselves, and are kept."""
STOPPING_S = 1.0
"""An errand that was stopped and has not ended after so long ends with its worker."""
PATIENCE_S = 0.2
"""An errand waits so long for the worker that holds tables of its subject; then any does it."""
MEMORY_BYTES = 4_000_000_000
STOPPED = "stopped"
GIVING_WAY = 5
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
    """Whoever waits for an errand, and the tab that it is of; both are called on the desk's thread."""

    news: Callable[[Any], None]
    done: Callable[[Answer], None]
    tab: Hashable = None


@dataclass(eq=False)
class _Flight:
    """One errand that waits or runs, and who wants it."""

    errand: Errand
    listeners: list[Listener] = field(default_factory=list)
    asked_at: float = field(default_factory=time.monotonic)
    at_work_for: tuple[Hashable, ...] | None = None
    told: Any = None
    dropped_at: float | None = None
    stopped_at: float | None = None
    later: list[Listener] = field(default_factory=list)
    """Who asked for it after it was stopped."""

    @property
    def is_running(self) -> bool:
        """Whether a worker has it."""
        return self.at_work_for is not None

    @property
    def is_watched(self) -> bool:
        """Whether it shall end soon."""
        return self.dropped_at is not None or self.stopped_at is not None


class Desk:
    """Does errands for many listeners at once."""

    def __init__(self, settings: SolveSettings, *, processes: int, folder: str | None = None, nice: int = 0) -> None:
        """Start nothing yet. ``settings``: of each solve; ``processes``: errands at once; ``folder``: dropped files.

        ``nice``: by how much its processes give way to others.
        """
        seconds = settings.time_limit_s * _GRACE_FACTOR + _GRACE_S
        self._engine = PoolEngine(
            Errands(settings, folder, nice=nice),
            processes=processes,
            limits=TaskLimits(seconds=seconds, memory_bytes=MEMORY_BYTES, own_work=True),
            preload=(*PRELOAD, "shardproof.solver.page.errands"),
            heard=self._hear,
        )
        self._processes = processes
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._bell, self._ring = multiprocessing.Pipe(duplex=False)
        self._flights: dict[str, _Flight] = {}
        self._turns = Turns()
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

    def leave(self, errand: Errand, listener: Listener) -> None:
        """Wait no longer."""
        self._do(lambda: self._forget(errand, listener))

    def stop(self, errand: Errand, listener: Listener) -> None:
        """Be content with what is known by now: the errand ends, unless others wait for more."""
        self._do(lambda: self._cut_short(errand, listener))

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
        while self._bell.poll() or (self._open and not self._turns and not self._running()):
            self._bell.recv_bytes()
            self._inbox.get()()

    def _accept(self, errand: Errand, listener: Listener) -> None:
        kept = self._kept.get(errand.key)
        if kept is not None:
            self._kept.move_to_end(errand.key)
            listener.done(kept)
            return
        flight = self._flights.setdefault(errand.key, _Flight(errand))
        if flight.stopped_at is not None:
            flight.later.append(listener)
            return
        if not flight.is_running:
            self._turns.add(listener.tab, errand.key, _rank(errand))
        flight.dropped_at = None
        flight.listeners.append(listener)

    def _forget(self, errand: Errand, listener: Listener) -> None:
        flight = self._flights.get(errand.key)
        if flight is not None and listener in flight.later:
            flight.later.remove(listener)
        if flight is None or listener not in flight.listeners:
            return
        flight.listeners.remove(listener)
        if not flight.is_running and all(other.tab != listener.tab for other in flight.listeners):
            self._turns.leave(errand.key, listener.tab)
        if not flight.listeners and flight.is_running:
            flight.dropped_at = time.monotonic()
        elif not flight.listeners:
            del self._flights[errand.key]

    def _cut_short(self, errand: Errand, listener: Listener) -> None:
        flight = self._flights.get(errand.key)
        if flight is None or listener not in flight.listeners:
            return
        if flight.is_running and flight.listeners == [listener]:
            self._stop_running(flight)
            return
        told = flight.told
        self._forget(errand, listener)
        listener.done(_cut_off(errand, told, STOPPED))

    def _stop_running(self, flight: _Flight) -> None:
        if flight.stopped_at is None:
            flight.stopped_at = time.monotonic()
            self._engine.stop(flight.errand.key)

    def _fill(self) -> None:
        """Give waiting errands to idle workers, tab by tab."""
        while self._turns and self._running() < self._processes:
            found = self._turns.take(self._is_due)
            if found is None:
                return
            key, tabs = found
            flight = self._flights[key]
            flight.at_work_for = tabs
            self._engine.submit(Job(key, flight.errand.kind, flight.errand, subject=flight.errand.subject))

    def _is_due(self, key: str) -> bool:
        """Whether an errand need not wait for the worker that holds tables of its subject."""
        flight = self._flights[key]
        waited = time.monotonic() - flight.asked_at
        return waited >= PATIENCE_S or not self._engine.is_held_up(flight.errand.subject)

    def _running(self) -> int:
        return sum(flight.is_running for flight in self._flights.values())

    def _gather(self) -> None:
        watched = [flight for flight in self._flights.values() if flight.is_watched]
        wait = PATIENCE_S / 2 if self._turns else LEAVE_RUNNING_S / 4 if watched else _COLLECT_S
        for done in self._engine.collect(wait, also=(self._bell,)):
            self._finish(done.job.fingerprint, done.answer)
        for flight in watched:
            if flight.errand.key in self._flights:
                self._end(flight)

    def _end(self, flight: _Flight) -> None:
        """Stop what nobody has waited for for long; end what was stopped and goes on."""
        moment, key = time.monotonic(), flight.errand.key
        if flight.dropped_at is not None and moment - flight.dropped_at > LEAVE_RUNNING_S:
            self._stop_running(flight)
        if flight.stopped_at is not None and moment - flight.stopped_at > STOPPING_S and self._engine.cancel(key):
            self._finish(key, replace(failure(STOPPED), summary={"over_limits": True}))

    def _finish(self, key: str, answer: Answer) -> None:
        flight = self._flights.pop(key)
        self._turns.done(flight.at_work_for or (), answer.summary.get("processor_s", answer.seconds))
        if answer.summary.get("over_limits"):
            answer = _cut_off(flight.errand, flight.told, answer.reason or "")
        elif flight.stopped_at is None:
            self._keep(key, answer)
        for listener in flight.listeners:
            listener.done(answer)
        for listener in flight.later:
            self._accept(flight.errand, listener)

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
        if flight is not None:
            flight.told = content
        for listener in flight.listeners if flight else ():
            listener.news(content)


def _rank(errand: Errand) -> int:
    return 0 if errand.kind in AT_ONCE else _RANKS.get(errand.kind, _LAST)


def _cut_off(errand: Errand, told: Any, reason: str) -> Answer:
    """Return the answer of an errand that was ended: what it told on its way; another kind has none."""
    if errand.kind != "answer":
        return failure(reason)
    known = told if isinstance(told, dict) else {}
    unit = {"unit": known.get("unit", "GPUs"), "scale": known.get("scale", 1)}
    least = 1 if unit["unit"] == "GPUs" else None
    best = {"incumbent": known.get("incumbent"), "bound": known.get("bound") or least}
    said = {"device": errand.options.get("device"), "ended": reason, **best, **unit}
    return Answer("done", {}, json.dumps(said), 0.0)


def _ignore(content: Any) -> None:
    del content


class Desks:
    """Two desks: one for what somebody watches, one for proofs, reasons and whatever else may take its time."""

    def __init__(self, settings: SolveSettings, *, processes: int, others: int = 2, folder: str | None = None) -> None:
        """Start nothing yet. ``processes``: answers at once; ``others``: workers of everything else."""
        self._watched = Desk(settings, processes=processes, folder=folder)
        self._others = Desk(settings, processes=others, folder=folder, nice=GIVING_WAY)

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

    def leave(self, errand: Errand, listener: Listener) -> None:
        """Wait no longer at its desk."""
        self._of(errand).leave(errand, listener)

    def stop(self, errand: Errand, listener: Listener) -> None:
        """Be content with what its desk knows by now."""
        self._of(errand).stop(errand, listener)

    def _of(self, errand: Errand) -> Desk:
        return self._watched if errand.kind in AT_ONCE else self._others
