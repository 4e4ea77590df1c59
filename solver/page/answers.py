"""Errands that solve: the answer for one device, its proof and reasons, and how far each limit may move."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.solver.api.explained import explain
from shardproof.solver.api.sensitivity import sensitivity
from shardproof.solver.batch.answer import Answer, Job, Task
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.rows import row_of
from shardproof.solver.batch.tasks import run_task
from shardproof.solver.batch.work import Solve
from shardproof.solver.drawing.view import plan_view
from shardproof.solver.page.dropped import placed
from shardproof.solver.page.held import Held
from shardproof.solver.page.questions import asked_of, instance_for, written

Tell = Callable[[Any], None]

_KEPT = (
    "status", "proof", "gpus", "bound", "gap", "stop_reason", "metrics", "explanation", "engine_flags", "service",
    "assumptions", "versions", "seconds", "instance_fingerprint", "engine",
)  # fmt: skip
_MOVED = ("ttft limit", "tpot limit", "batch_size", "concurrency", "rate")


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
    instance = instance_for(asked, device, partial(placed, options=options))
    found = _solved(instance, settings, tell, held or Held())
    document = json.loads(found.document or "{}")
    labels = {"model": instance.model.name, "device": instance.device.name}
    task = Task(0, labels, labels["model"], labels["device"], _engine(instance), "page", instance)
    facts = run_task(task)
    basis = instance.device.price_basis
    return {
        "device": device or instance.device.name,
        "row": row_of(facts, found).cells(()),
        "price_basis": None if basis is None else basis.model_dump(mode="json"),
        "price_per_device_hour": facts.facts["price_per_device_hour"],
        "result": {key: document.get(key) for key in _KEPT} | {"seconds": round(found.seconds, 6)},
        "plan": document.get("plan"),
        "view": plan_view(document, facts.facts),
        "max_gpus": instance.max_gpus,
        "written": written(asked, device),
        "certified": settings.certify,
    }


def _solved(instance: Instance, settings: SolveSettings, tell: Tell, held: Held) -> Answer:
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
    """Say why fewer GPUs are impossible, or which limits exclude every plan."""
    del settings, tell
    return explain(_asked(options)).to_dict()


def limits(options: Mapping[str, Any], settings: SolveSettings, tell: Tell) -> dict[str, Any]:
    """Say how far the limits and the load may move before as few GPUs are too few; ``only`` one of them, if named."""
    del settings
    only = options.get("only")
    found = sensitivity(_asked(options), only=(only,) if only in _MOVED else _MOVED, on_progress=tell)
    return found.to_dict()


def _asked(options: Mapping[str, Any]) -> Instance:
    return instance_for(asked_of(options.get("question")), _device(options), partial(placed, options=options))
