"""From a sweep to tasks with fingerprints, and the facts of a task that tables and reports need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shardproof.formulations.engines.rules import has_experts
from shardproof.instances.instance import Instance
from shardproof.instances.pools import Pool, PoolsQuestion
from shardproof.instances.sweep import Point, Sweep, expand
from shardproof.instances.units import format_duration
from shardproof.instances.workload import Burst, ClosedLoop, Limits, Scenario
from shardproof.solver.batch.answer import Task
from shardproof.solver.batch.fingerprint import SolveSettings, fingerprint, fleet_fingerprint, refused_fingerprint
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
            fleet=point.fleet,
        )


def run_task(task: Task) -> RunTask:
    """Return what the ledger keeps of a task for tables and reports."""
    names = {"task": task.name, "model": task.model, "device": task.device, "engine": task.engine}
    facts: dict[str, Any] = {"labels": dict(task.labels), **names}
    if task.instance is not None:
        facts |= _facts(task.instance)
    elif task.fleet is not None:
        facts |= _fleet_facts(task.fleet)
    return RunTask(position=task.position, fingerprint=task.fingerprint, facts=facts)


def _key(point: Point, settings: SolveSettings, code: str) -> str:
    if point.fleet is not None:
        return fleet_fingerprint(point.fleet, settings, code)
    if point.instance is None:
        return refused_fingerprint(f"{point.name}: {point.refusal}", code)
    return fingerprint(point.instance, settings, code)


def _facts(instance: Instance) -> dict[str, Any]:
    price, basis = instance.device.price_per_hour, instance.device.price_basis
    return {
        "memory_bytes": instance.memory_limit,
        "routed": has_experts(instance),
        "price_per_device_hour": None if price is None else float(price),
        "price_kind": None if basis is None or price is None else basis.kind,
        "workload": "; ".join(workload_words(scenario) for scenario in instance.scenarios),
        "limits": "; ".join(filter(None, (limit_words(scenario.limits) for scenario in instance.scenarios))),
        "scenarios": [_scenario(scenario) for scenario in instance.scenarios],
    }


def _fleet_facts(question: PoolsQuestion) -> dict[str, Any]:
    """Facts of a question about several devices or models; what a fleet costs stands in its answer."""
    rated = question.rated if question.pools else (True,) * len(question.demand)
    asked = zip(question.names, question.demand, rated, strict=True)
    return {
        "price_per_device_hour": None,
        "price_kind": None,
        "workload": "; ".join(f"{name} {float(count):g}{'/s' if each else ' requests'}" for name, count, each in asked),
        "limits": f"least {question.objective}" if question.objective != "load" else "most load",
        "scenarios": [],
        "pools": {pool.name: pool_facts(pool) for pool in question.pools},
    }


def pool_facts(pool: Pool) -> dict[str, Any]:
    """Return what is drawn beside the plan of a pool's replicas."""
    own = pool.instance
    return {
        "model": own.model.name,
        "engine": own.engine,
        "memory_bytes": own.memory_limit,
        "routed": has_experts(own),
    }


def workload_words(scenario: Scenario) -> str:
    """Say what arrives, in a few words."""
    load = scenario.workload
    if isinstance(load, Burst):
        count = f"{load.batch_size:,} at once"
    elif isinstance(load, ClosedLoop):
        count = f"{load.concurrency:,} in flight"
    else:
        count = f"{float(load.rate):g}/s"
    return f"{count}, {load.input_tokens:,} + {load.output_tokens:,} tokens"


def limit_words(limits: Limits) -> str:
    """Say which latency limits hold (empty: none)."""
    found = [f"{figure.upper()} {format_duration(round(limit))}" for figure, limit in limits.plain.items()]
    found += [
        f"{one.figure.upper()} p{float(one.percent):g} {format_duration(one.limit)}" for one in limits.percentiles
    ]
    return ", ".join(found)


def _scenario(scenario: Scenario) -> dict[str, Any]:
    load = scenario.workload
    return {
        "name": scenario.name,
        "kind": load.kind,
        "requests": load.requests,
        "input_tokens": load.input_tokens,
        "output_tokens": load.output_tokens,
        "ttft_limit_ns": scenario.limits.ttft,
        "tpot_limit_ns": scenario.limits.tpot,
    }
