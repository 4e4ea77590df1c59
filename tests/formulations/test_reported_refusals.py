"""Layouts and settings that engines refuse at start, as their issue trackers or logs report them: the same, by rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from shardproof.formulations.engines.rules import broken_rules, rules_of
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree

ONE = Option(1, 1, 1, 1)


@dataclass(frozen=True)
class Report:
    """What somebody tried, and the rule that refuses it; ``starts``: a neighbour that is not refused by it."""

    where: str
    rule: str
    model: str
    option: Option = ONE
    device: str = "h100-sxm"
    engine: dict[str, Any] = field(default_factory=lambda: {"name": "vllm"})
    precision: dict[str, str] = field(default_factory=dict)
    starts: dict[str, Any] = field(default_factory=dict)

    def instance(self, **changes: Any) -> Instance:
        """Return the question of the report."""
        tree = {
            "name": "report",
            "model": changes.get("model", self.model),
            "device": changes.get("device", self.device),
            "engine": changes.get("engine", self.engine),
            "precision": changes.get("precision", self.precision),
            "workload": {"kind": "burst", "batch_size": 1, "input_tokens": 900, "output_tokens": 100},
        }
        return resolve_tree(tree, where="test")


def tp(count: int) -> Option:
    return Option(count, 1, count, 1)


OLD = {"name": "vllm", "version": "0.6.3"}
REPORTS = (
    Report(
        "vllm-project/vllm#55091, #46407: eight groups of Mamba states, TP 32",
        "state-groups",
        "nemotron-3-ultra-550b-a55b",
        tp(16),
        starts={"option": tp(8)},
    ),
    Report(
        "sglang 0.5.23 layers/attention/mamba/mamba.py: the same assertion",
        "state-groups",
        "nemotron-3-super-120b-a12b",
        tp(16),
        engine={"name": "sglang"},
        starts={"option": tp(4)},
    ),
    Report(
        "vllm-project/vllm#4202, #1488: AWQ needs 7.5, a V100 has 7.0",
        "weights-device",
        "qwen2.5-7b-instruct-awq",
        device="v100-32-sxm",
        starts={"device": "a100-80-sxm"},
    ),
    Report(
        "vllm fp8.py, get_min_capability: FP8 on a V100",
        "weights-device",
        "qwen3-8b-fp8",
        device="v100-32-sxm",
        starts={"device": "a100-80-sxm"},
    ),
    Report(
        "vllm mxfp4.py, get_min_capability: gpt-oss on a V100",
        "weights-device",
        "gpt-oss-20b",
        device="v100-32-sxm",
        starts={"device": "rtx-3090"},
    ),
    Report(
        "TensorRT-LLM support matrix: FP8 on Ampere",
        "weights-device",
        "llama-3.1-70b-fp8",
        device="a100-80-sxm",
        engine={"name": "trtllm"},
        starts={"device": "l40s"},
    ),
    Report(
        "TensorRT-LLM support matrix: NVFP4 on Hopper",
        "weights-device",
        "deepseek-v3.1-nvfp4",
        engine={"name": "trtllm"},
        starts={"device": "b200-sxm"},
    ),
    Report(
        "vllm-project/vllm#31480, #31936: DeepSeek-V3.2 on RTX PRO 6000",
        "sparse-device",
        "deepseek-v3.2",
        tp(8),
        device="rtx-pro-6000-server",
        engine={"name": "vllm", "version": "0.13"},
        starts={"device": "h200-sxm"},
    ),
    Report(
        "vllm flashmla_sparse.py, supports_compute_capability: DeepSeek-V3.2 on A100",
        "sparse-device",
        "deepseek-v3.2",
        tp(8),
        device="a100-80-sxm",
        starts={"device": "b200-sxm"},
    ),
    Report(
        "sglang dsa_backend.py: needs SM90 or newer",
        "sparse-device",
        "deepseek-v4-flash",
        tp(8),
        device="l40s",
        engine={"name": "sglang"},
        starts={"device": "h20-141-sxm"},
    ),
    Report(
        "vllm-project/vllm#41014: DeepSeek-V4 on RTX A6000 (Ampere)",
        "sparse-device",
        "deepseek-v4-flash",
        tp(8),
        device="rtx-3090",
        starts={"device": "h100-sxm"},
    ),
    Report(
        "vllm-project/vllm#52435: 256 experts over three ranks",
        "compressed-experts",
        "deepseek-v4-flash",
        Option(1, 3, 1, 3),
        starts={"option": Option(1, 4, 1, 4)},
    ),
    Report(
        "vllm _resolve_dsv4_kv_cache_dtype: only 8 bits",
        "cache-dtype",
        "deepseek-v4-flash",
        precision={"kv_cache": "bf16"},
        starts={"precision": {"kv_cache": "fp8"}},
    ),
    Report(
        "vllm get_supported_kernel_block_sizes: no kernel has blocks of 20 tokens",
        "kernel-blocks",
        "qwen3-8b",
        engine={"name": "vllm", "block_size": 20},
        starts={"engine": {"name": "vllm", "block_size": 32}},
    ),
    Report(
        "vllm indexer.py: blocks of selected tokens are of 64",
        "kernel-blocks",
        "deepseek-v3.2",
        engine={"name": "vllm", "block_size": 16},
        starts={"engine": {"name": "vllm", "block_size": 64}},
    ),
    Report(
        "TensorRT-LLM tokens_per_block: a power of two",
        "kernel-blocks",
        "qwen3-8b",
        engine={"name": "trtllm", "tokens_per_block": 48},
        starts={"engine": {"name": "trtllm", "tokens_per_block": 64}},
    ),
    Report(
        "vllm SchedulerConfig: max_num_batched_tokens below max_model_len (huggingface/trl#3788 met it)",
        "whole-prompts",
        "qwen3-8b",
        engine={**OLD, "max_model_len": 10_000, "max_num_batched_tokens": 4096},
        starts={"engine": {**OLD, "version": "0.9", "max_model_len": 10_000, "max_num_batched_tokens": 4096}},
    ),
    Report(
        "vllm-project/vllm#3676: max_model_len 131072 of a model with 8192 positions",
        "context",
        "gemma-2-9b",
        engine={"name": "vllm", "max_model_len": 131_072},
        starts={"engine": {"name": "vllm", "max_model_len": 8192}},
    ),
    Report(
        "llm-d-planner log qwen3-14b tp5: 8 KV heads over five ranks",
        "kv-heads",
        "qwen3-14b",
        tp(5),
        starts={"option": tp(4)},
    ),
    Report(
        "vllm-project/vllm#414: 52 heads over three ranks, here 40",
        "heads",
        "qwen3-14b",
        tp(3),
        starts={"option": tp(2)},
    ),
    Report(
        "sgl-project/sglang#6913: experts over ranks that do not divide them",
        "whole-experts",
        "deepseek-r1",
        Option(1, 24, 1, 24),
        engine={"name": "sglang"},
        starts={"option": Option(1, 32, 1, 32)},
    ),
)


def broken(instance: Instance, option: Option) -> set[str]:
    return {rule.name for rule in broken_rules(instance, option, rules_of(instance.engine))}


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.where.split(":")[0])
def test_what_was_refused_is_refused_by_its_rule(report: Report) -> None:
    """By that rule; and the neighbour of it that starts is not refused by it."""
    assert report.rule in broken(report.instance(), report.option)
    changes = dict(report.starts)
    option = changes.pop("option", report.option)
    assert report.rule not in broken(report.instance(**changes), option)


def test_devices_of_other_vendors_are_not_judged_by_nvidia_capabilities() -> None:
    """No number of theirs is known here."""
    for device in ("mi300x", "mi355x", "gaudi-3", "tpu-v6e"):
        report = Report("", "", "deepseek-v3.2", device=device)
        assert not broken(report.instance(), Option(1, 1, 1, 1)) & {"weights-device", "sparse-device"}
