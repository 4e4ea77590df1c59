"""From a sweep to tasks with fingerprints, and the facts of a task that tables and reports need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.sweep import Point, Sweep, expand
from shardproof.instances.workload import Burst, Scenario
from shardproof.solver.batch.answer import Task
from shardproof.solver.batch.fingerprint import SolveSettings, fingerprint, refused_fingerprint
from shardproof.solver.batch.ledger import RunTask


def tasks_of(
    sweep: Sweep, settings: SolveSettings, *, code: str, where: str, folder: Path | None = None
) -> Iterator[Task]:
    """Yield the tasks of a sweep in order; ``code``: the version of the code that answers them."""
    for position, point in enumerate(expand(sweep, where=where, folder=folder)):
        yield Task(
            position=position,
            labels=point.labels,
            model=point.model,
            device=point.device,
            engine=point.engine,
            fingerprint=_key(point, settings, code),
            instance=point.instance,
            refusal=point.refusal,
        )


def run_task(task: Task) -> RunTask:
    """Return what the ledger keeps of a task for tables and reports."""
    names = {"task": task.name, "model": task.model, "device": task.device, "engine": task.engine}
    facts: dict[str, Any] = {"labels": dict(task.labels), **names}
    if task.instance is not None:
        facts |= _facts(task.instance)
    return RunTask(position=task.position, fingerprint=task.fingerprint, facts=facts)


def _key(point: Point, settings: SolveSettings, code: str) -> str:
    if point.instance is None:
        return refused_fingerprint(f"{point.name}: {point.refusal}", code)
    return fingerprint(point.instance, settings, code)


def _facts(instance: Instance) -> dict[str, Any]:
    price = instance.device.price_per_hour
    return {
        "memory_bytes": instance.memory_limit,
        "price_per_device_hour": None if price is None else float(price),
        "scenarios": [_scenario(scenario) for scenario in instance.scenarios],
    }


def _scenario(scenario: Scenario) -> dict[str, Any]:
    load = scenario.workload
    return {
        "name": scenario.name,
        "kind": "burst" if isinstance(load, Burst) else "closed-loop",
        "requests": load.requests,
        "input_tokens": load.input_tokens,
        "output_tokens": load.output_tokens,
        "ttft_limit_ns": scenario.limits.ttft,
        "tpot_limit_ns": scenario.limits.tpot,
    }
