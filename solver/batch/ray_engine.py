"""The Ray engine: the same jobs on a local Ray or on a cluster (optional extra ``shardproof[ray]``).

Every slot of the cluster is one Ray actor that holds a process pool of one worker, so that death, time and
memory of a job are judged by the same code as on one machine. An actor dies only with its node (or with Ray
itself); its job is then given to another one.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from shardproof.instances.errors import InputError
from shardproof.solver.batch.answer import Done, Job, failure
from shardproof.solver.batch.engine import PRELOAD, TaskLimits, Work

DEPTH = 2
"""Jobs that an actor holds: the next one is there when one ends, so that no message is waited for."""

NODE_ATTEMPTS = 5
"""Times that a job is given out when nodes die under it: that is no fault of the job."""

_COUNT_EVERY_S = 2.0
_KNOCK_S = 5.0


@dataclass
class _Flight:
    """One job, and how often an actor died under it."""

    job: Job
    started: float
    deaths: int = 0


@dataclass(eq=False)
class _Seat:
    """One actor that runs, and how many jobs it holds."""

    actor: Any
    jobs: int = 0


class Slot:
    """What runs inside a Ray actor: a pool of one worker."""

    def __init__(self, work: Work, limits: TaskLimits) -> None:
        """Prepare the pool; its worker starts with the first job."""
        from shardproof.solver.batch.pool import PoolEngine

        self._pool = PoolEngine(work, processes=1, limits=limits, preload=PRELOAD)

    def ready(self) -> None:
        """Return once the actor runs somewhere."""

    def answer(self, job: Job) -> Done:
        """Solve one job."""
        self._pool.submit(job)
        while True:
            for done in self._pool.collect(1.0):
                return done


class RayEngine:
    """Jobs on the actors of a Ray cluster."""

    def __init__(self, work: Work, *, address: str | None, workers: int, limits: TaskLimits) -> None:
        """Connect to the cluster at ``address``, or start a local Ray when none is given.

        Raises
        ------
        InputError
            If Ray is not installed or no cluster answers at the address.
        """
        self._ray = _import_ray()
        self._started_here = not self._ray.is_initialized()
        if self._started_here:
            self._connect(address)
        self._work = self._ray.put(work)
        self._workers = workers
        self._limits = limits
        self._actor = self._ray.remote(num_cpus=workers, max_restarts=0)(Slot)
        self._starting: dict[Any, Any] = {}
        self._seats: list[_Seat] = []
        self._waiting: deque[_Flight] = deque()
        self._flights: dict[Any, tuple[_Flight, _Seat]] = {}
        self._cpus, self._counted_at = 1, float("-inf")

    @property
    def slots(self) -> int:
        """Jobs that all living nodes hold at once."""
        return DEPTH * self._seats_wanted()

    def submit(self, job: Job) -> None:
        """Start a job as soon as an actor is free."""
        self._waiting.append(_Flight(job=job, started=time.monotonic()))
        self._hand_out()

    def collect(self, timeout_s: float) -> list[Done]:
        """Wait for finished jobs; hand out again those whose actor died."""
        self._hand_out()
        references = [*self._flights, *self._starting]
        if not references:
            return []
        ready, _ = self._ray.wait(references, num_returns=1, timeout=timeout_s)
        finished: list[Done] = []
        for reference in ready:
            if reference in self._starting:
                self._begin(reference)
            else:
                finished += self._harvest(reference)
        self._hand_out()
        return finished

    def close(self) -> None:
        """End every actor; stop Ray if it was started here."""
        for actor in [*(seat.actor for seat in self._seats), *self._starting.values()]:
            self._end(actor)
        for held in (self._seats, self._waiting, self._flights, self._starting):
            held.clear()
        if self._started_here:
            self._ray.shutdown()

    def _connect(self, address: str | None) -> None:
        try:
            _knock(address)
            # A cluster that exists has its own dashboard setting; a local Ray needs none.
            more = {} if address else {"include_dashboard": False}
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **more)
        except (OSError, ValueError, RuntimeError, self._ray.exceptions.RayError) as error:
            raise InputError(f"--address {address}: no Ray cluster answers ({error}); check the address") from None

    def _seats_wanted(self) -> int:
        """Actors that the CPUs of all living nodes carry."""
        now = time.monotonic()
        if now - self._counted_at > _COUNT_EVERY_S:
            per_node = (node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"])
            self._cpus = max(1, sum(int(cpus) // self._workers for cpus in per_node))
            self._counted_at = now
        return self._cpus

    def _hand_out(self) -> None:
        """Give waiting jobs to the least busy actors; keep as many actors as the living nodes carry."""
        while self._waiting:
            seat = min(self._seats, key=lambda seat: seat.jobs, default=None)
            if seat is None or seat.jobs >= DEPTH:
                break
            flight = self._waiting.popleft()
            self._flights[seat.actor.answer.remote(flight.job)] = (flight, seat)
            seat.jobs += 1
        missing = self._seats_wanted() - len(self._seats) - len(self._starting)
        for reference in list(self._starting)[: max(0, -missing)]:
            self._end(self._starting.pop(reference))
        for _ in range(missing):
            actor = self._actor.remote(self._work, self._limits)
            # An actor that finds no node waits without a job, so no job is ever stuck with it.
            self._starting[actor.ready.remote()] = actor

    def _begin(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError:
            self._counted_at = float("-inf")
            return
        self._seats.append(_Seat(actor))

    def _end(self, actor: Any) -> None:
        with contextlib.suppress(Exception):  # a lost cluster cannot end anything, nor need it
            self._ray.kill(actor)

    def _harvest(self, reference: Any) -> list[Done]:
        flight, seat = self._flights.pop(reference)
        seat.jobs -= 1
        errors = self._ray.exceptions
        try:
            done: Done = self._ray.get(reference)
        except (errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError, errors.RaySystemError):
            if seat in self._seats:
                self._seats.remove(seat)
            return self._after_death(flight)
        return [done]

    def _after_death(self, flight: _Flight) -> list[Done]:
        flight.deaths += 1
        self._counted_at = float("-inf")
        if flight.deaths < NODE_ATTEMPTS:
            self._waiting.appendleft(flight)
            return []
        reason = f"its node died {flight.deaths} times"
        answer = failure(reason, seconds=time.monotonic() - flight.started)
        return [Done(job=flight.job, answer=answer, attempts=flight.deaths)]


def _knock(address: str | None) -> None:
    """Open and close a connection to ``host:port``: Ray itself would wait a minute for nobody.

    Raises
    ------
    OSError
        If nobody listens there.
    """
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.removeprefix("ray://"), int(port)), timeout=_KNOCK_S).close()


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'shardproof[ray]'") from None
