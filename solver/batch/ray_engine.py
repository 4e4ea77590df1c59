"""The Ray engine: the same jobs on a local Ray or on a cluster (optional extra ``shardproof[ray]``).

Every slot of the cluster is one Ray actor that holds a process pool of one worker, so that death, time and
memory of a job are judged by the same code as on one machine. An actor dies only with its node (or with Ray
itself); its job is then given to another one.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from instances.errors import InputError
from solver.batch.answer import Done, Job, failure
from solver.batch.engine import PRELOAD, TaskLimits, Work

NODE_ATTEMPTS = 5
"""Times that a job is given out when nodes die under it: that is no fault of the job."""

_COUNT_EVERY_S = 2.0


@dataclass
class _Flight:
    """One job, and how often an actor died under it."""

    job: Job
    started: float
    deaths: int = 0


class Slot:
    """What runs inside a Ray actor: a pool of one worker."""

    def __init__(self, work: Work, limits: TaskLimits) -> None:
        """Prepare the pool; its worker starts with the first job."""
        from solver.batch.pool import PoolEngine

        self._pool = PoolEngine(work, processes=1, limits=limits, preload=PRELOAD)

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
        self._idle: deque[Any] = deque()
        self._waiting: deque[_Flight] = deque()
        self._flights: dict[Any, tuple[_Flight, Any]] = {}
        self._slots, self._counted_at = 1, float("-inf")

    @property
    def slots(self) -> int:
        """Jobs that the CPUs of all living nodes run at once."""
        now = time.monotonic()
        if now - self._counted_at > _COUNT_EVERY_S:
            per_node = (node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"])
            self._slots = max(1, sum(int(cpus) // self._workers for cpus in per_node))
            self._counted_at = now
        return self._slots

    def submit(self, job: Job) -> None:
        """Start a job."""
        self._waiting.append(_Flight(job=job, started=time.monotonic()))
        self._hand_out()

    def collect(self, timeout_s: float) -> list[Done]:
        """Wait for finished jobs; hand out again those whose actor died."""
        self._hand_out()
        if not self._flights:
            time.sleep(timeout_s if self._waiting else 0.0)
            return []
        references = list(self._flights)
        ready, _ = self._ray.wait(references, num_returns=1, timeout=timeout_s)
        finished = [self._harvest(reference) for reference in ready]
        self._hand_out()
        return [done for done in finished if done is not None]

    def close(self) -> None:
        """End every actor; stop Ray if it was started here."""
        actors = [*self._idle, *(actor for _, actor in self._flights.values())]
        for actor in actors:
            with contextlib.suppress(Exception):  # a lost cluster cannot end anything, nor need it
                self._ray.kill(actor)
        self._idle.clear()
        self._waiting.clear()
        self._flights.clear()
        if self._started_here:
            self._ray.shutdown()

    def _connect(self, address: str | None) -> None:
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--address {address}: no Ray cluster answers ({error}); check the address") from None

    def _hand_out(self) -> None:
        while self._waiting:
            if self._idle:
                actor = self._idle.popleft()
            elif len(self._flights) < self.slots:
                actor = self._actor.remote(self._work, self._limits)
            else:
                return
            flight = self._waiting.popleft()
            self._flights[actor.answer.remote(flight.job)] = (flight, actor)

    def _harvest(self, reference: Any) -> Done | None:
        flight, actor = self._flights.pop(reference)
        errors = self._ray.exceptions
        try:
            done: Done = self._ray.get(reference)
        except (errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError, errors.RaySystemError):
            return self._after_death(flight)
        self._idle.append(actor)
        return done

    def _after_death(self, flight: _Flight) -> Done | None:
        flight.deaths += 1
        self._counted_at = float("-inf")
        if flight.deaths < NODE_ATTEMPTS:
            self._waiting.appendleft(flight)
            return None
        reason = f"its node died {flight.deaths} times"
        answer = failure(reason, seconds=time.monotonic() - flight.started)
        return Done(job=flight.job, answer=answer, attempts=flight.deaths)


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'shardproof[ray]'") from None
