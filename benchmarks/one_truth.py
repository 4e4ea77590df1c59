"""One plan through solve, predict, audit and compare: the same figures, and no answer that its engine refuses.

Run: ``python -m benchmarks.one_truth [--count 300] [--seed 1]``. Random questions of every kind: models, devices,
engines, bursts and closed loops, lengths, limits, settings. Exit code 1 if two verbs differ on any.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import click
import yaml

from shardproof.instances.catalogue import load_device, model_names
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.audit.compare import columns_of
from shardproof.solver.audit.own_plan import own_plan
from shardproof.solver.audit.review import fleet_review, review
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.groups import questions as questions_of
from shardproof.solver.evaluation.predictions import predict
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve

DEVICES = (
    "h100-sxm",
    "h200-sxm",
    "b200-sxm",
    "a100-80-sxm",
    "a100-40-sxm",
    "l40s",
    "l4",
    "rtx-4090",
    "mi300x",
    "gaudi-3",
)
ENGINES = ("any", "vllm", "vllm", "sglang", "trtllm", "vllm@0.9", "vllm@0.15", "vllm@0.26")
SECONDS = 20.0


def question(random: Random) -> dict[str, Any]:
    """Return a random question as the tree of an instance file."""
    device, engine = random.choice(DEVICES), random.choice(ENGINES)
    while engine == "trtllm" and load_device(device).vendor != "NVIDIA":
        engine = random.choice(ENGINES)
    count = random.choice((1, 4, 16, 64, 200))
    load: dict[str, Any] = {
        "input_tokens": random.choice((128, 1024, 4000, 20_000)),
        "output_tokens": random.choice((64, 500, 2000)),
    }
    kind = random.choice(("burst", "closed-loop"))
    load |= {"kind": kind, "batch_size" if kind == "burst" else "concurrency": count}
    tree: dict[str, Any] = {
        "name": "random",
        "model": random.choice(model_names()),
        "device": device,
        "engine": engine,
        "workload": load,
        "limits": {"max_gpus": random.choice((8, 16, 32))},
    }
    if random.random() < 0.3:
        tree["limits"]["ttft"] = random.choice(("2 s", "20 s"))
    if engine != "any" and random.random() < 0.3:
        name, _, version = engine.partition("@")
        told = random.choice(({"max_num_batched_tokens": 2048}, {"gpu_memory_utilization": "0.85"}, {"block_size": 32}))
        tree["engine"] = {"name": name, **({"version": version} if version else {}), **told}
    return tree


def questions(count: int, seed: int) -> Iterator[tuple[dict[str, Any], Instance]]:
    """Yield ``count`` random questions that are answerable in form."""
    random, found = Random(seed), 0
    while found < count:
        tree = question(random)
        try:
            instance = resolve_tree(tree, where="random")
        except InputError:
            continue
        found += 1
        yield tree, instance


def differences(instance: Instance, result: Result, folder: Path) -> list[str]:
    """Say where the verbs differ on the plan of a result, and what its engine refuses."""
    if result.plan is None or result.metrics is None:
        return []
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(result.plan.model_dump(mode="json", exclude_none=True), sort_keys=False))
    told = result.metrics.ttft_s, result.metrics.tpot_ms, result.metrics.peak_memory_bytes
    found = []
    for verb, figures in (
        ("compare", _compared(path, instance, result)),
        ("audit", _audited(path, instance)),
        ("predict", _predicted(instance, result.plan)),
    ):
        if figures is not None and figures != told[: len(figures)]:
            found.append(f"{verb}: {figures} for {told}")
    return found + _refused(instance, result.plan)


def _compared(path: Path, instance: Instance, result: Result) -> tuple[Any, ...]:
    column = columns_of(path, 0, instance, result)[0]
    return column.ttft_s, column.tpot_ms, column.peak_memory_bytes


def _audited(path: Path, instance: Instance) -> tuple[Any, ...] | None:
    """Figures of `audit`: the worst of any group, each judged as a plan of its own."""
    own = own_plan(path)
    found = review(path, instance) if own is None or not own.groups else fleet_review(own, instance, path.name)
    figures = [audit.context.best.evaluation for audit in found.audits if audit.context.best is not None]
    if len(figures) < len(found.audits) or found.violations:
        return ()
    ttft, tpot = max(one.ttft for one in figures), max(one.tpot for one in figures)
    return ttft / 1e9, tpot / 1e6, max(one.peak_memory for one in figures)


def _predicted(instance: Instance, plan: Plan) -> tuple[Any, ...] | None:
    """Figures of `predict`, the worst of any group; times of closed loops are those of its own fit."""
    found = predict(instance, plan)
    memory = evaluate(instance, plan).peak_memory
    peak, broken = max(sum(one.memory_bytes.values()) for one in found), [one.violations for one in found]
    if peak != memory or any(broken):
        return (broken, peak)
    return None if found[0].basis.startswith("serving") else (found[0].ttft_s, found[0].tpot_ms, memory)


def _refused(instance: Instance, plan: Plan) -> list[str]:
    if instance.engine == "any":
        return []
    found = []
    for asked, part in questions_of(instance, plan):
        engine = EnginePlan(asked, part)
        short = [item.name for item in asked.scenarios if engine.admitted(item) < min(engine.load)]
        found += [] if engine.binding.refusal is None else [f"its engine refuses: {engine.binding.refusal}"]
        found += [f"its cache holds not all requests of {name}" for name in short]
    return found


@click.command()
@click.option("--count", default=300, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(count: int, seed: int) -> None:
    """Hold the verbs against each other."""
    seen: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for place, (tree, instance) in enumerate(questions(count, seed)):
            result = solve(instance, settings=Settings(time_limit_s=SECONDS, explain=False))
            seen[result.status] += 1
            for sentence in differences(instance, result, Path(folder)):
                wrong += 1
                click.echo(f"{place} {tree}: {sentence}")
    click.echo(f"{count} questions: {dict(seen)}; {wrong} differences")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
