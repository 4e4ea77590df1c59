"""Counts of replicas that the bound refutes, played: none may keep its limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.open_loop.formulas import DEVICES, MODELS
from shardproof.instances.errors import InputError
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.open_loop.facts import OpenScenario
from shardproof.solver.open_loop.judge import judged
from shardproof.solver.open_loop.least import OptionCosts, ShapeBound
from shardproof.solver.open_loop.shapes import shapes_of
from shardproof.solver.simulation.simulate import Service, SimulationSettings

LIMITS: tuple[dict[str, Any], ...] = (
    {"ttft": {"p99": "2 s"}, "tpot": {"p99": "50 ms"}},
    {"ttft": {"p90": "500 ms"}, "tpot": "40 ms"},
    {"e2e": {"p95": "10 s"}, "ttft": {"p50": "1 s"}},
    {"ttft": "1 s", "tpot": "30 ms", "goodput": "95%"},
    {"ttft": {"p100": "3 s"}, "tpot": {"p50": "30 ms"}},
)
BUDGET = 32


@dataclass(frozen=True)
class Row:
    """One more replica is the bound; whether the refuted count kept its limits after all."""

    name: str
    replicas: int
    kept: bool


def measure(count: int, *, seed: int = 0) -> Iterator[Row]:
    """Play the largest refuted count of a random shape for random questions."""
    random = np.random.default_rng(seed)
    made = 0
    while made < count:
        tree = _question(random)
        try:
            instance = resolve_tree(tree, where="random")
        except InputError:
            continue
        service = Service(instance, SimulationSettings(seeds=2))
        fitting = [shape for shape in shapes_of(service.deployment) if shape.gpus <= 4]
        shape = fitting[int(random.integers(len(fitting)))]
        bound = ShapeBound(
            OptionCosts(service, shape.option), shape, [OpenScenario(service, instance.scenarios[0])]
        ).replicas(BUDGET // shape.gpus)
        if bound <= 1:
            continue
        plan = shape.plan(service.deployment, bound - 1)
        if EnginePlan(service.deployment.instance, plan.parts[0]).binding.refusal is None:
            made += 1
            kept = judged(instance, plan, service).keeps_all
            yield Row(f"{instance.model.name} on {instance.device.name}, {shape}", bound - 1, kept)


def _question(random: np.random.Generator) -> dict[str, Any]:
    prompt, output = int(10 ** random.uniform(2, 3.9)), int(10 ** random.uniform(0.7, 2.8))
    spread = int(random.integers(4))
    load = {
        "kind": "requests",
        "rate": f"{10 ** random.uniform(0.3, 1.7):.2f}/s",
        "arrival_cv": str(random.choice(["0", "1", "1", "3"])),
        "input_tokens": prompt if spread < 2 else {"p50": prompt, "p95": prompt * 3, "max": prompt * 6},
        "output_tokens": output if spread % 2 == 0 else {"p50": output, "p95": output * 3 + 1, "max": output * 8 + 2},
    }
    return {
        "model": str(random.choice(MODELS)),
        "device": str(random.choice(DEVICES)),
        "engine": "vllm",
        "workload": load,
        "limits": {**LIMITS[int(random.integers(len(LIMITS)))], "max_gpus": BUDGET},
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return how many refuted counts were played, and those that kept their limits."""
    return {"played": len(rows), "kept": [f"{row.name} x {row.replicas}" for row in rows if row.kept]}
