"""Iterations of closed loops: fewer tokens than the engine's default where that saves a GPU, else the default."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shardproof.formulations.deployment.loop_shapes import LOOP_CHUNKS, LoopShape, loop_shape
from shardproof.formulations.deployment.loops import Loop
from shardproof.formulations.engines.told import usual_batch
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve

SETTINGS = Settings(explain=False)


def question(model: str, running: int, *, device: str = "h100-sxm", prompt: int = 8000, **told: Any) -> Instance:
    load = {"kind": "closed-loop", "concurrency": running, "input_tokens": prompt, "output_tokens": 2000}
    engine = {"name": told.pop("engine", "vllm"), **told}
    tree = {"name": "loop", "model": model, "device": device, "engine": engine, "workload": load}
    return resolve_tree(tree | {"limits": {"max_gpus": 8}}, where="test")


@pytest.mark.parametrize(
    ("model", "device", "running"),
    [("gpt-oss-120b", "h100-sxm", 16), ("gpt-oss-120b", "a100-80-sxm", 24), ("qwen3-235b-a22b-fp8", "h200-sxm", 24)],
)
def test_smaller_iterations_save_a_gpu(model: str, device: str, running: int) -> None:
    """Told the default, the same question needs one more; told what was chosen, it has the same figures."""
    asked = question(model, running, device=device)
    free = solve(asked, settings=SETTINGS)
    assert free.proof == "certified-optimal"
    assert free.plan is not None
    chosen = free.plan.microbatches[0].chunk_tokens
    assert chosen in LOOP_CHUNKS
    engine = deployment_of(asked).engine
    assert engine is not None
    usual = question(model, running, device=device, max_num_batched_tokens=usual_batch(asked, engine))
    assert solve(usual, settings=SETTINGS).gpus == (free.gpus or 0) + 1
    told = solve(question(model, running, device=device, max_num_batched_tokens=chosen), settings=SETTINGS)
    assert (told.gpus, told.metrics) == (free.gpus, free.metrics)


@pytest.mark.parametrize(("model", "running"), [("qwen3-32b", 16), ("qwen3-8b", 8), ("llama-3.1-70b-fp8", 32)])
def test_the_default_stands_where_nothing_is_saved(model: str, running: int) -> None:
    found = solve(question(model, running), settings=SETTINGS)
    assert found.plan is not None
    assert found.plan.microbatches[0].chunk_tokens is None
    assert "--max-num-batched-tokens 8192" in found.engine_flags[0]


def test_the_answer_is_the_least_of_those_for_each_size() -> None:
    """What is left to the program needs as few GPUs as the best of what could be told."""
    for running in (8, 40, 72, 104):
        free = solve(question("gpt-oss-120b", running), settings=SETTINGS).gpus
        told = [
            solve(question("gpt-oss-120b", running, max_num_batched_tokens=size), settings=SETTINGS).gpus
            for size in (8192, *LOOP_CHUNKS)
        ]
        assert free == min(count for count in told if count is not None)


def test_every_verb_says_the_same_of_a_plan_with_a_size() -> None:
    asked = question("gpt-oss-120b", 16)
    found = solve(asked, settings=SETTINGS)
    assert found.plan is not None
    assert found.metrics is not None
    checked = evaluate(asked, found.plan)
    assert not checked.violations
    launch = EnginePlan(asked, found.plan).launch(found.plan.stages[0].option)
    assert launch.batched == found.plan.microbatches[0].chunk_tokens
    without = found.plan.model_copy(update={"microbatches": (), "microbatch_tokens": launch.batched})
    assert evaluate(asked, without).scenarios[0].stages == checked.scenarios[0].stages


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_a_first_token_waits_for_every_chunk(engine: str) -> None:
    """No faster with smaller iterations, and never equal: at equal times the default stands."""
    deployment = deployment_of(question("qwen3-8b", 16, engine=engine))
    scenario, option = deployment.instance.scenarios[0], Option(1, 1, 1, 1)
    loop = Loop(deployment, scenario, running=16, size=16, link="scale_up")
    times = []
    for chunk in (None, 7000, 2048, 512, 128):
        tried = replace(loop, chunk=chunk)
        layers = sum(tried.layer(kind, option).first_token for kind in deployment.kind_names)
        times.append(layers + tried.ends(option).first.first_token)
    assert times == sorted(times)
    assert len(set(times)) == len(times)


def test_values_of_choices_come_back() -> None:
    for shape in (LoopShape(1), LoopShape(4096), LoopShape(7, 512), LoopShape(100_000, 2048)):
        assert loop_shape(shape.value) == shape
