"""A hundred questions whose answers are exported: dense models, experts, FP8; one node and several; alike and mixed."""

from __future__ import annotations

from typing import Any

ENGINES = ("vllm", "sglang", "trtllm")

_LOADS: dict[str, dict[str, Any]] = {
    "burst": {"isl": 1024, "osl": 128, "batch_size": 64, "ttft": "3 s"},
    "long": {"isl": 8000, "osl": 500, "batch_size": 8, "ttft": "20 s"},
    "batch": {"isl": 512, "osl": 256, "batch_size": 32},
    "loop": {"isl": 2000, "osl": 300, "concurrency": 64, "tpot": "50 ms"},
    "fast": {"isl": 1024, "osl": 128, "concurrency": 32, "tpot": "25 ms"},
    "alike": {"isl": 1024, "osl": 256, "concurrency": 100, "tpot": "30 ms", "replicas": "alike"},
    "cache": {"isl": 2000, "osl": 300, "batch_size": 32, "kv_cache": "fp8"},
    "tight": {"isl": 2000, "osl": 200, "batch_size": 48, "ttft": "2 s"},
    "apart": {"isl": 2000, "osl": 200, "batch_size": 64, "ttft": "3 s", "tpot": "30 ms", "serving": "apart"},
}

_ROWS = (
    ("qwen3-8b", "h100-sxm", "burst"),
    ("qwen3-8b", "l4", "tight"),
    ("llama-3.1-8b-instruct", "a100-80-sxm", "loop"),
    ("llama-3.1-8b-instruct", "l40s", "fast"),
    ("phi-4", "l40s", "alike"),
    ("qwen3-14b", "l40s", "cache"),
    ("mistral-small-3.2-24b", "h100-sxm", "loop"),
    ("gemma-3-27b-it", "h100-sxm", "batch"),
    ("qwen3-32b", "l40s", "burst"),
    ("qwen3-32b", "h200-sxm", "tight"),
    ("qwen3-32b", "h100-sxm", "apart"),
    ("qwen3-30b-a3b-fp8", "h100-sxm", "apart"),
    ("qwen3-32b-fp8", "h100-sxm", "alike"),
    ("llama-3.3-70b-instruct", "h100-sxm", "burst"),
    ("llama-3.3-70b-instruct", "a100-80-sxm", "loop"),
    ("llama-3.3-70b-instruct", "l40s", "tight"),
    ("llama-3.1-70b-fp8", "l40s", "batch"),
    ("llama-3.1-70b-fp8", "h100-sxm", "fast"),
    ("qwen2.5-72b-instruct", "b200-sxm", "long"),
    ("qwen2.5-72b-instruct", "a100-40-sxm", "batch"),
    ("llama-3.1-405b-fp8", "h100-sxm", "long"),
    ("llama-3.1-405b-instruct", "h100-sxm", "batch"),
    ("qwen3-30b-a3b", "h100-sxm", "loop"),
    ("qwen3-30b-a3b-fp8", "l40s", "fast"),
    ("qwen3-30b-a3b-fp8", "h100-sxm", "burst"),
    ("mixtral-8x7b-instruct", "h100-sxm", "loop"),
    ("deepseek-v2-lite-chat", "l40s", "batch"),
    ("glm-4.5-air-fp8", "h100-sxm", "burst"),
    ("gpt-oss-120b", "h100-sxm", "loop"),
    ("gpt-oss-20b", "h100-sxm", "cache"),
    ("qwen3-235b-a22b-fp8", "h100-sxm", "batch"),
    ("qwen3-235b-a22b-fp8", "h200-sxm", "tight"),
    ("qwen3-235b-a22b", "h100-sxm", "burst"),
    ("qwen3-coder-480b-a35b-fp8", "h200-sxm", "batch"),
    ("deepseek-r1", "h100-sxm", "burst"),
    ("deepseek-r1", "h200-sxm", "cache"),
    ("deepseek-v3.1", "b200-sxm", "long"),
    ("llama-3.1-8b-instruct", "mi300x", "loop"),
    ("qwen3-235b-a22b-fp8", "mi300x", "batch"),
)


def _questions() -> dict[str, dict[str, Any]]:
    return {
        f"{model}/{device}/{load}/{engine}": {"model": model, "device": device, "engine": engine, **_LOADS[load]}
        for model, device, load in _ROWS
        for engine in ENGINES
        if not (engine == "trtllm" and device == "mi300x")
    }


QUESTIONS = _questions()
"""Fields of each question by its name."""

SHARE = tuple(
    name
    for name in QUESTIONS
    if name.startswith(
        (
            "qwen3-8b/h100-sxm/burst",
            "qwen3-32b/h100-sxm/apart",
            "qwen3-14b/l40s/cache",
            "qwen3-32b/l40s/burst",
            "qwen3-30b-a3b-fp8/l40s/fast/sglang",
            "qwen3-235b-a22b-fp8/h100-sxm",
            "deepseek-r1/h100-sxm",
            "llama-3.1-8b-instruct/a100",
        )
    )
)
"""Those that every test run exports."""
