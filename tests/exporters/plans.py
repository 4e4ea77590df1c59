"""Plans to export: engines, dense and mixture models, one node and two, alike and mixed, equal stages and not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan, Pool, Share, Stage
from shardproof.instances.resolve import resolve_tree


@dataclass(frozen=True)
class Case:
    """A question, and stages of a plan for it."""

    engine: str
    model: str
    device: str
    stages: tuple[tuple[int, int, int, int, int], ...]
    replicas: int = 1
    kv_cache: str | None = None

    @property
    def tree(self) -> dict[str, Any]:
        load = {"kind": "burst", "batch_size": 16 * self.replicas, "input_tokens": 512, "output_tokens": 64}
        tree = {"name": "t", "model": self.model, "device": self.device, "engine": self.engine, "workload": load}
        return tree | ({"precision": {"kv_cache": self.kv_cache}} if self.kv_cache else {})


CASES = {
    "vllm-one": Case("vllm", "Qwen/Qwen3-8B", "h100-sxm", ((0, 35, 1, 1, 1),)),
    "vllm-copies": Case("vllm", "Qwen/Qwen3-8B", "l40s", ((0, 35, 2, 1, 1),), 5),
    "vllm-stages": Case("vllm", "llama-3.1-8b", "h100-sxm", ((0, 14, 1, 1, 1), (15, 31, 1, 1, 1))),
    "vllm-cache": Case("vllm", "llama-3.1-70b", "h100-sxm", ((0, 79, 4, 1, 1),), kv_cache="fp8"),
    "vllm-experts": Case("vllm", "qwen3-235b-a22b-fp8", "h200-sxm", ((0, 93, 4, 1, 4),)),
    "vllm-dp": Case("vllm", "qwen3-235b-a22b-fp8", "h200-sxm", ((0, 93, 1, 4, 4),)),
    "vllm-nodes": Case("vllm", "llama-3.1-405b", "h100-sxm", ((0, 62, 8, 1, 1), (63, 125, 8, 1, 1)), 2),
    "vllm-dp-nodes": Case("vllm", "qwen3-235b-a22b-fp8", "h100-sxm", ((0, 93, 4, 4, 16),)),
    "vllm-dp-three-nodes": Case("vllm", "deepseek-r1", "h100-sxm", ((0, 60, 1, 32, 32),)),
    "vllm-amd": Case("vllm", "llama-3.1-70b", "mi300x", ((0, 79, 2, 1, 1),)),
    "sglang-one": Case("sglang", "Qwen/Qwen3-8B", "h100-sxm", ((0, 35, 2, 1, 1),), 3),
    "sglang-stages": Case("sglang", "llama-3.1-8b", "h100-sxm", ((0, 14, 1, 1, 1), (15, 31, 1, 1, 1))),
    "sglang-dp": Case("sglang", "deepseek-r1", "h200-sxm", ((0, 60, 1, 8, 8),), kv_cache="fp8"),
    "sglang-nodes": Case("sglang", "llama-3.1-405b", "h100-sxm", ((0, 125, 16, 1, 1),)),
    "trtllm-one": Case("trtllm", "Qwen/Qwen3-8B", "h100-sxm", ((0, 35, 2, 1, 1),), 2),
    "trtllm-experts": Case("trtllm", "qwen3-235b-a22b-fp8", "h200-sxm", ((0, 93, 4, 1, 4),), kv_cache="fp8"),
    "trtllm-nodes": Case("trtllm", "llama-3.1-405b", "h100-sxm", ((0, 62, 8, 1, 1), (63, 125, 8, 1, 1))),
}


def _stage(first: int, last: int, tp: int, dp: int, ep: int) -> Stage:
    width = tp * dp
    return Stage(layers=(first, last), gpus=width, attn_tp=tp, attn_dp=dp, moe_tp=width // ep, moe_ep=ep)


@lru_cache
def question(name: str) -> tuple[Instance, Plan]:
    """Return the instance and the plan of a case."""
    if name == "mixed":
        return _mixed()
    if name in APART:
        return _apart(APART[name])
    case = CASES[name]
    instance = resolve_tree(case.tree, where="test")
    stages = tuple(_stage(*one) for one in case.stages)
    plan = Plan(replicas=case.replicas, microbatch_tokens=512, stages=stages, **_names(instance))
    return instance, plan


def _names(instance: Instance) -> dict[str, Any]:
    return {"model": instance.model.name, "device": instance.device.name, "engine": instance.engine}


def _mixed() -> tuple[Instance, Plan]:
    case = Case("vllm", "Qwen/Qwen3-8B", "h100-sxm", (), 5)
    instance = resolve_tree(case.tree, where="test")
    groups = tuple(
        Group(
            replicas=copies, microbatch_tokens=512, stages=(_stage(0, 35, tp, 1, 1),), shares=(Share(requests=taken),)
        )
        for copies, tp, taken in ((2, 1, 10), (1, 4, 60))
    )
    return instance, Plan(replicas=3, microbatch_tokens=512, groups=groups, **_names(instance))


APART = {
    "vllm-apart": Case("vllm", "qwen3-32b", "h100-sxm", ((0, 63, 1, 1, 1), (0, 63, 2, 1, 1))),
    "vllm-apart-nodes": Case("vllm", "qwen3-235b-a22b-fp8", "h100-sxm", ((0, 93, 4, 1, 4), (0, 93, 1, 16, 16))),
    "sglang-apart": Case("sglang", "deepseek-r1", "h200-sxm", ((0, 60, 8, 1, 8), (0, 60, 1, 8, 8))),
    "trtllm-apart": Case("trtllm", "qwen3-32b", "h100-sxm", ((0, 63, 1, 1, 1), (0, 63, 4, 1, 1))),
}
"""Prefill and decode in pools of their own: one stage of each."""


def _apart(case: Case) -> tuple[Instance, Plan]:
    instance = resolve_tree(case.tree | {"serving": "apart"}, where="test")
    pools: tuple[tuple[Pool, int], ...] = (("prefill", 2), ("decode", 1))
    groups = tuple(
        Group(replicas=copies, microbatch_tokens=512, stages=(_stage(*stage),), pool=pool)
        for (pool, copies), stage in zip(pools, case.stages, strict=True)
    )
    return instance, Plan(replicas=3, microbatch_tokens=512, groups=groups, **_names(instance))


NAMES = [*CASES, "mixed", *APART]
