"""Percentiles by formula against the simulator, on random questions and on traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from shardproof.instances.workload import OpenLoop
from shardproof.solver.open_loop.predicted import percentiles_of
from shardproof.solver.open_loop.shapes import Shape, shapes_of
from shardproof.solver.simulation.simulate import LEAST_REQUESTS, Service, SimulationSettings

MODELS = ("llama-3.2-1b-instruct", "qwen3-8b", "llama-3.1-8b-instruct", "qwen3-32b", "gpt-oss-20b", "gemma-2-9b")
DEVICES = ("h100-sxm", "l40s", "a100-80-sxm", "h200-sxm", "l4")
LOADS = (0.2, 0.4, 0.6, 0.75, 0.9)
"""Shares of the largest rate that the formula says is kept up with, at which plans are played."""
SHARES = (50, 90, 99)
TURNS, MOST = 20, 20_000
"""Runs last so many times as long as a request does: the formulas speak of a service that began long ago."""


@dataclass(frozen=True)
class Row:
    """One figure of one question: formula and simulator, ms."""

    name: str
    figure: str
    percent: int
    formula: float
    played: float

    @property
    def ratio(self) -> float:
        """Formula over simulator."""
        return self.formula / self.played


def questions(count: int, *, seed: int = 0) -> Iterator[tuple[str, Instance, Shape, int]]:
    """Yield random questions with a shape and replicas; the rate is such that the fleet is loaded to a random share."""
    random = np.random.default_rng(seed)
    made = 0
    while made < count:
        model, device = str(random.choice(MODELS)), str(random.choice(DEVICES))
        prompt, output = int(10 ** random.uniform(2, 3.8)), int(10 ** random.uniform(1.3, 2.9))
        lengths: Any = prompt if random.random() < 0.5 else {"p50": prompt, "p95": prompt * 3, "max": prompt * 6}
        load = {"kind": "requests", "rate": "1/s", "input_tokens": lengths, "output_tokens": output}
        tree = {"model": model, "device": device, "engine": "vllm", "workload": load, "limits": {"ttft_p99": "10 s"}}
        instance = resolve_tree(tree, where="random")
        service = Service(instance, SimulationSettings(seeds=3))
        fitting = [shape for shape in shapes_of(service.deployment) if shape.stages == 1 and shape.gpus <= 4]
        shape, replicas = fitting[int(random.integers(len(fitting)))], int(random.integers(1, 5))
        top = _largest_rate(instance, shape, replicas)
        if top is None:
            continue
        made += 1
        name = f"{model} on {device}, {shape} x {replicas}, {prompt}/{output}"
        yield name, _at(instance, top * float(random.choice(LOADS))), shape, replicas


def _at(instance: Instance, rate: float) -> Instance:
    scenario = instance.scenarios[0]
    load = scenario.workload.model_copy(update={"rate": rate})
    return instance.model_copy(update={"scenarios": (scenario.model_copy(update={"workload": load}),)})


def _largest_rate(instance: Instance, shape: Shape, replicas: int) -> float | None:
    low, high = 0.0, 1024.0 * replicas
    for _ in range(14):
        middle = (low + high) / 2
        asked = _at(instance, middle)
        try:
            plan = shape.plan(Service(asked).deployment, replicas)
            kept = percentiles_of(asked, plan)[0].tpot(0.99) < float("inf") and (
                percentiles_of(asked, plan)[0].ttft(0.99) < float("inf")
            )
        except (InputError, ValueError):
            return None
        low, high = (middle, high) if kept else (low, middle)
    return low or None


def measure(count: int, *, seed: int = 0) -> Iterator[Row]:
    """Play random questions and hold the formulas against what is seen."""
    for name, instance, shape, replicas in questions(count, seed=seed):
        plan = shape.plan(Service(instance).deployment, replicas)
        found = percentiles_of(instance, plan)[0]
        flight = replicas * found.load.rate * float(found.load.output.mean()) * found.mean_tpot
        lasting = max(LEAST_REQUESTS, min(MOST, round(TURNS * flight)))
        (outcome,) = Service(instance, SimulationSettings(seeds=3, requests=lasting)).play(plan, watched=False)
        for percent in SHARES:
            for figure in ("ttft", "tpot"):
                played = outcome.figure(figure, percent).value
                formula = getattr(found, figure)(percent / 100)
                if played > 0:
                    yield Row(name, figure, percent, formula / 1e6, played / 1e6)


def on_traces(paths: list[Path]) -> Iterator[Row]:
    """Play traces on one plan each, loaded to about half."""
    for path in paths:
        tree = {
            "model": "llama-3.1-8b-instruct",
            "device": "h100-sxm",
            "engine": "vllm",
            "workload": {"trace": str(path)},
            "limits": {"ttft_p99": "10 s"},
        }
        instance = resolve_tree(tree, where=str(path))
        assert isinstance(instance.scenarios[0].workload, OpenLoop)
        service = Service(instance, SimulationSettings(seeds=1, requests=4000))
        shape = next(iter(shapes_of(service.deployment)))
        plan = shape.plan(service.deployment, 4)
        (outcome,) = service.play(plan, watched=False)
        found = percentiles_of(instance, plan)[0]
        for percent in SHARES:
            for figure in ("ttft", "tpot"):
                formula, played = getattr(found, figure)(percent / 100), outcome.figure(figure, percent).value
                yield Row(path.name, figure, percent, formula / 1e6, played / 1e6)


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return medians, and how often the formula lies below, by figure and percentile."""
    found: dict[str, Any] = {"figures": len(rows), "below": sum(row.ratio < 1 for row in rows)}
    for figure in ("ttft", "tpot"):
        for percent in SHARES:
            ratios = sorted(row.ratio for row in rows if row.figure == figure and row.percent == percent)
            if ratios:
                found[f"{figure} p{percent}"] = {
                    "median_above": median(ratios) - 1,
                    "lowest": ratios[0],
                    "below": sum(ratio < 1 for ratio in ratios),
                    "count": len(ratios),
                }
    found["median_above"] = median(row.ratio for row in rows) - 1 if rows else None
    worst = sorted(rows, key=lambda row: row.ratio)[:5]
    found["worst"] = [f"{row.name}: {row.figure} p{row.percent} {row.ratio:.2f}" for row in worst]
    return found
