"""Whether plans keep their limits at the planned rate in runs of other seeds, and whether 1.3 times of it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from benchmarks.open_loop.formulas import DEVICES, MODELS
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.open_loop.judge import judged
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import Service, SimulationSettings

FACTOR = Fraction(13, 10)
OTHER_SEED = 1000


@dataclass(frozen=True)
class Row:
    """One question: GPUs and bound of its plan, whether the planned rate holds, and whether more of it fails.

    ``fails_below``: whether the plan with one replica fewer fails at its rate (``None``: it has one alone).
    """

    name: str
    gpus: int
    bound: int
    holds: bool
    fails_beyond: bool
    fails_below: bool | None = None


def measure(count: int, *, seed: int = 0) -> Iterator[Row]:
    """Plan random questions, and play their plans with arrivals that the planner has not seen."""
    random = np.random.default_rng(seed)
    made = 0
    while made < count:
        model, device = str(random.choice(MODELS)), str(random.choice(DEVICES))
        prompt, output = int(10 ** random.uniform(2.3, 3.5)), int(10 ** random.uniform(1.7, 2.7))
        rate = round(float(10 ** random.uniform(0.5, 1.8)), 2)
        load = {"kind": "requests", "rate": f"{rate}/s", "input_tokens": prompt, "output_tokens": output}
        limits = {"ttft": {"p99": "2 s"}, "tpot": {"p99": "60 ms"}, "max_gpus": 64}
        tree = {"model": model, "device": device, "engine": "vllm", "workload": load, "limits": limits}
        instance = resolve_tree(tree, where="random")
        found = answer(instance, settings=Settings())
        if found.plan is None or found.gpus is None or found.bound is None:
            continue
        made += 1
        more = faster(instance)
        yield Row(
            f"{model} on {device}, {prompt}/{output} at {rate}/s",
            found.gpus,
            found.bound,
            holds=_holds(instance, found.plan),
            fails_beyond=not _holds(more, found.plan),
            fails_below=None if found.plan.replicas < 2 else not _holds(instance, _smaller(found.plan)),
        )


def _smaller(plan: Plan) -> Plan:
    """Return the plan with one replica fewer."""
    return plan.model_copy(update={"replicas": plan.replicas - 1})


def faster(instance: Instance) -> Instance:
    """Return the question with a higher rate."""
    scenario = instance.scenarios[0]
    load = scenario.workload
    changed = load.model_copy(update={"rate": load.rate * FACTOR})  # type: ignore[union-attr]
    return instance.model_copy(update={"scenarios": (scenario.model_copy(update={"workload": changed}),)})


def _holds(instance: Instance, plan: Any) -> bool:
    """Whether the means over other runs keep every limit."""
    shown = judged(instance, plan, Service(instance, SimulationSettings(seeds=5, seed=OTHER_SEED)))
    return all(verdict.found.value <= verdict.limit for verdict in shown.verdicts)


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return the shares, over all questions and over those whose plan has several GPUs."""
    several = [row for row in rows if row.gpus > 1]
    fewer = [row for row in rows if row.fails_below is not None]
    return {
        "questions": len(rows),
        "planned_rate_holds": sum(row.holds for row in rows) / len(rows) if rows else None,
        "fails_at_1.3": sum(row.fails_beyond for row in rows) / len(rows) if rows else None,
        "fails_at_1.3_several_gpus": sum(row.fails_beyond for row in several) / len(several) if several else None,
        "fails_with_a_replica_fewer": sum(bool(row.fails_below) for row in fewer) / len(fewer) if fewer else None,
        "optimal": sum(row.gpus == row.bound for row in rows) / len(rows) if rows else None,
        "bound_over_gpus": sum(row.bound for row in rows) / sum(row.gpus for row in rows) if rows else None,
        "missed": [row.name for row in rows if not row.holds],
    }
