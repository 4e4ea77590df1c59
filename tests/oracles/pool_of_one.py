"""One question put in two ways: requests per second on one device, and on a pool of that device alone."""

from __future__ import annotations

from random import Random
from typing import Any

import shardproof

DEVICES = ("l40s", "a100-40-sxm", "a100-80-sxm", "h100-sxm", "a10g")


def random_question(seed: int) -> dict[str, Any]:
    """Return a question about one device and one model."""
    random = Random(f"pool of one {seed}")
    limits: dict[str, Any] = {"max_gpus": 48, "tpot": {"p99": f"{random.choice((40, 60, 90))} ms"}}
    limits["ttft"] = {random.choice(("p95", "p99")): f"{random.choice((1, 2, 4))} s"}
    workload: dict[str, Any] = {
        "kind": "requests",
        "rate": f"{random.randint(2, 40)}/s",
        "arrival_cv": random.choice((1, 1, 1, 2, 0)),
        "input_tokens": random.choice((400, 1500, {"mean": 900, "p95": 2500, "max": 8000})),
        "output_tokens": random.choice((40, 120, {"p50": 100, "p95": 300})),
    }
    return {
        "model": random.choice(("qwen3-8b", "llama-3.1-8b")),
        "engine": "vllm",
        "device": random.choice(DEVICES),
        "replicas": random.choice(("alike", "alike", "free")),
        "max_stage_gpus": random.choice((1, 2, 4)),
        "workload": workload,
        "limits": limits,
    }


def disagreement(tree: dict[str, Any]) -> str | None:
    """Say where the two answers differ in GPUs, bound or status (``None``: they agree).

    Where replicas may differ, only a pool makes fleets of several shapes: it may do with fewer.
    """
    alone = shardproof.solve(tree)
    rest = {field: value for field, value in tree.items() if field != "device"}
    pool = shardproof.solve(rest | {"devices": [{"device": tree["device"]}]})
    assert isinstance(alone, shardproof.Solved)
    assert isinstance(pool, shardproof.SolvedFleet)
    if tree["replicas"] == "free" and pool.value is not None:
        return None if alone.gpus is None or pool.value <= alone.gpus else f"alone {alone.gpus}, as a pool {pool.value}"
    said = (alone.status, alone.gpus, alone.bound), (pool.status, pool.value, pool.bound)
    return None if said[0] == said[1] else f"alone {said[0]}, as a pool {said[1]}"
