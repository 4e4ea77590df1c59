"""A minimum that its publisher states for some layouts, and a smaller one that the same account allows for another.

Kimi-K2 in FP8 with 128k tokens on H200: docs/deploy_guidance.md of MoonshotAI/Kimi-K2 calls 16 GPUs the smallest unit
"with either Tensor Parallel (TP) or data parallel + expert parallel (DP+EP)".
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.plan import Plan, Stage
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve

LENGTH = 131_072


def question(engine: str, *, requests: int = 1) -> Instance:
    tree = {
        "name": "128k",
        "model": "moonshotai/Kimi-K2-Instruct",
        "device": "h200-sxm",
        "engine": {"name": engine, "max_model_len": LENGTH, "max_num_batched_tokens": 8192},
        "workload": {"kind": "burst", "batch_size": requests, "input_tokens": LENGTH - 1000, "output_tokens": 1000},
        "limits": {"max_gpus": 16},
        "max_stage_gpus": 16,
    }
    return resolve_tree(tree, where="test")


def plan(engine: str, option: Option, *cuts: int) -> Plan:
    ends = (0, *cuts, 61)
    stages = tuple(
        Stage(
            layers=(first, end - 1),
            gpus=option.gpus,
            attn_tp=option.attn_tp,
            attn_dp=option.attn_dp,
            moe_tp=option.moe_tp,
            moe_ep=option.moe_ep,
        )
        for first, end in pairwise(ends)
    )
    return Plan(engine=engine, replicas=1, microbatch_tokens=8192, stages=stages)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("option", [Option(8, 1, 8, 1), Option(8, 1, 1, 8), Option(1, 8, 1, 8)])
def test_what_the_publisher_lists_does_not_fit_eight(engine: str, option: Option) -> None:
    """Every rank of one stage keeps the latent cache of all layers: 9.2 GB beside 129.9 GB of weights."""
    asked, given = question(engine, requests=option.attn_dp), plan(engine, option)
    assert EnginePlan(asked, given).binding.refusal is not None
    assert evaluate(asked, given).violations


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_what_it_lists_fits_sixteen(engine: str) -> None:
    asked, given = question(engine), plan(engine, Option(16, 1, 1, 16))
    assert EnginePlan(asked, given).binding.refusal is None


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_two_stages_halve_the_cache_of_a_rank(engine: str) -> None:
    """The answer needs eight, and its own account accepts it."""
    asked = question(engine)
    result = solve(asked, settings=Settings(explain=False))
    assert result.plan is not None
    assert (result.gpus, result.bound) == (8, 8)
    assert len(result.plan.stages) > 1
    assert EnginePlan(asked, result.plan).binding.refusal is None
    assert not evaluate(asked, result.plan).violations
