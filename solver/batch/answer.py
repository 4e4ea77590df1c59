"""Tasks and their answers: what the ledger keeps and the engines pass around."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from shardproof.instances.instance import Instance
from shardproof.instances.pools import PoolsQuestion

Status = Literal["optimal", "feasible", "infeasible", "undecided", "failed", "refused", "done"]
"""How a job ended; ``done``: a job that asks for no plan, and whose document is its answer."""
STATUSES: tuple[Status, ...] = ("optimal", "feasible", "infeasible", "undecided", "failed", "refused")


@dataclass(frozen=True)
class Task:
    """One question of a batch: labels by swept axis, the instance, and the key of its answer."""

    position: int
    labels: Mapping[str, str]
    model: str
    device: str
    engine: str
    fingerprint: str
    instance: Instance | None
    refusal: str | None = None
    fleet: PoolsQuestion | None = None

    @property
    def name(self) -> str:
        """What the task is called in tables."""
        return " / ".join(self.labels.values()) or f"task {self.position}"


@dataclass(frozen=True)
class Known:
    """What earlier answers say about a task: a proven lower bound on its GPUs."""

    floor: int | None = None
    source: str | None = None


@dataclass(frozen=True)
class Job:
    """What an engine gets: the key of a task, its instance and what is known of it.

    ``subject``: what it is about; a worker that had jobs of the same subject still holds tables of it.
    """

    fingerprint: str
    name: str
    instance: Any
    known: Known = Known()
    subject: str = ""


@dataclass(frozen=True)
class Answer:
    """The answer to one task.

    ``summary`` holds what tables need of the ``solve --json`` document: proof, gpus, bound, gap, stop_reason
    and metrics. ``document`` is its whole text (``None``: no plan document, or not loaded). ``source`` names
    the task whose answer was carried over, if any; ``seconds`` is the wall time of the solve.
    """

    status: Status
    summary: Mapping[str, Any]
    document: str | None
    seconds: float
    reason: str | None = None
    source: str | None = None

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Metrics of the plan; empty when there is none."""
        return self.summary.get("metrics") or {}

    @property
    def gpus(self) -> int | None:
        """GPUs of the plan."""
        found: int | None = self.summary.get("gpus")
        return found

    @property
    def bound(self) -> int | None:
        """Proven lower bound on the GPUs."""
        found: int | None = self.summary.get("bound")
        return found


_SUMMARY = ("proof", "gpus", "bound", "gap", "stop_reason", "metrics", "levels")


def from_document(tree: Mapping[str, Any], *, seconds: float) -> Answer:
    """Return the answer that a ``solve --json`` document gives."""
    why = " ".join(tree.get("explanation") or ())
    return Answer(
        status=tree["status"],
        summary={key: tree.get(key) for key in _SUMMARY},
        document=json.dumps(tree),
        seconds=seconds,
        reason=why or tree.get("stop_reason"),
    )


def from_fleet(tree: Mapping[str, Any], *, seconds: float) -> Answer:
    """Return the answer that the document of a fleet gives; a bound that is no number of GPUs stays in the document."""
    found = from_document(tree, seconds=seconds)
    bound = tree["bound"] if tree["objective"] == "gpus" else None
    return replace(found, summary={**found.summary, "bound": None if bound is None else round(bound)})


def failure(reason: str, *, seconds: float = 0.0) -> Answer:
    """Return the answer of a task that ended without one."""
    return Answer(status="failed", summary={}, document=None, seconds=seconds, reason=reason)


@dataclass(frozen=True)
class News:
    """What a worker says of a job on its way: any plain values."""

    content: Any


@dataclass(frozen=True)
class Done:
    """A finished job, and how often it was tried."""

    job: Job
    answer: Answer
    attempts: int = 1
