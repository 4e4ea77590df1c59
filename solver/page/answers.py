"""Errands that solve: the answer for one device, its proof and reasons, and how far each limit may move."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.api.explained import explain
from shardproof.solver.api.sensitivity import sensitivity
from shardproof.solver.batch.answer import Answer, Job, Task
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.rows import row_of
from shardproof.solver.batch.tasks import run_task
from shardproof.solver.batch.work import Solve
from shardproof.solver.drawing.view import plan_view
from shardproof.solver.page.dropped import placed
from shardproof.solver.page.fleets import fleet_view, task_of
from shardproof.solver.page.held import Held
from shardproof.solver.page.questions import asked_of, question_for, written

Tell = Callable[[Any], None]

_KEPT = (
    "status", "proof", "gpus", "bound", "gap", "stop_reason", "metrics", "explanation", "engine_flags", "service",
    "assumptions", "versions", "seconds", "instance_fingerprint", "engine",
)  # fmt: skip
_PARTS = tuple(f"{figure} {part} limit" for figure in ("ttft", "tpot") for part in ("p50", "p90", "p99"))
_MOVED = ("ttft limit", "tpot limit", *_PARTS, "batch_size", "concurrency", "rate")


def answer(options: Mapping[str, Any], settings: SolveSettings, tell: Tell, held: Held) -> dict[str, Any]:
    """Solve the question for one device, as `batch` does, unless it follows from an answer that is held.

    The certificate is left to `certify`.
    """
    return _answered(options, replace(settings, certify=False, explain=False), tell, held)


def certify(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Solve it with certificate, checker and reasons, as `solve` does."""
    return _answered(options, replace(settings, certify=True, explain=True), tell)


def _answered(
    options: Mapping[str, Any], settings: SolveSettings, tell: Tell, held: Held | None = None
) -> dict[str, Any]:
    asked, device = asked_of(options.get("question")), _device(options)
    question = question_of(options)
    found = _solved(question, settings, tell, held or Held())
    document = json.loads(found.document or "{}")
    task = task_of(question) if isinstance(question, PoolsQuestion) else _task_of(question)
    facts = run_task(task)
    return {
        "device": device or task.device,
        "row": row_of(facts, found).cells(()),
        "result": {key: document.get(key) for key in _KEPT} | {"seconds": round(found.seconds, 6)},
        "plan": document.get("plan"),
        "view": plan_view(document, facts.facts),
        "fleet": fleet_view(question, document) if isinstance(question, PoolsQuestion) else None,
        "max_gpus": question.max_gpus,
        "written": written(asked, device),
        "certified": settings.certify,
    }


def question_of(options: Mapping[str, Any]) -> Instance | PoolsQuestion:
    """Return the question of an errand, to the device that it names."""
    return question_for(asked_of(options.get("question")), _device(options), partial(placed, options=options))


def _task_of(instance: Instance) -> Task:
    labels = {"model": instance.model.name, "device": instance.device.name}
    return Task(0, labels, labels["model"], labels["device"], _engine(instance), "page", instance)


def _solved(instance: Instance | PoolsQuestion, settings: SolveSettings, tell: Tell, held: Held) -> Answer:
    if isinstance(instance, PoolsQuestion):
        return Solve(settings).telling(Job("page", "page", instance), tell)
    implied = held.implied(instance)
    if isinstance(implied, Answer):
        return implied
    found = Solve(settings).telling(Job("page", "page", instance, implied), tell)
    held.keep(instance, found)
    return found


def _engine(instance: Instance) -> str:
    version = instance.engine_settings.version
    return instance.engine if version is None else f"{instance.engine}@{version}"


def _device(options: Mapping[str, Any]) -> str | None:
    device = options.get("device")
    return None if device is None else str(device)


def why(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Say why fewer GPUs (or less) are impossible, or which limits exclude every plan."""
    del tell
    return explain(question_of(options), time_limit=settings.time_limit_s).to_dict()


def limits(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Say how far the limits and the load may move before as few GPUs are too few; ``only`` one of them, if named.

    Of a fleet: between which prices of each offer it stays the cheapest.
    """
    del settings
    only = options.get("only")
    found = sensitivity(question_of(options), only=(only,) if only in _MOVED else _MOVED, on_progress=tell)
    return found.to_dict()
