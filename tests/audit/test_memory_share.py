"""The share of a device that a launch tells its engine to use: accounted, played, kept with the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import shardproof

BURST: dict[str, Any] = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "engine": "vllm",
    "workload": {"kind": "burst", "batch_size": 8, "input_tokens": 512, "output_tokens": 128},
    "limits": {"ttft": "2 s"},
}
LOOP = BURST | {
    "workload": {"kind": "closed-loop", "concurrency": 8, "input_tokens": 512, "output_tokens": 128},
    "limits": {"tpot": "50 ms"},
}
OPEN = BURST | {
    "workload": {"kind": "requests", "rate": "4/s", "input_tokens": 2000, "output_tokens": 100},
    "limits": {"ttft_p99": "4 s"},
}
LAUNCHES = {
    "vllm": "vllm serve Qwen/Qwen3-8B --max-model-len 4096 --gpu-memory-utilization {}",
    "sglang": "sglang serve --model-path Qwen/Qwen3-8B --context-length 4096 --mem-fraction-static {}",
}


def broken(launch: str, asked: dict[str, Any]) -> set[str]:
    """Rows that a launch breaks, the same in audit, predict and compare."""
    audited = {item.group for item in shardproof.audit(launch, asked, completion=False).violations}
    predicted = shardproof.predict(launch, asked)
    assert {item.group for item in predicted.metrics.violations} == audited
    column = shardproof.compare(launch, instance=asked).columns[0]
    assert {name.partition("[stage")[0].partition("[plan")[0] for name in column.violations} == audited
    return audited


@pytest.mark.parametrize("engine", LAUNCHES)
@pytest.mark.parametrize("asked", [BURST, LOOP], ids=["burst", "loop"])
def test_a_share_too_small_for_the_weights_breaks_memory(engine: str, asked: dict[str, Any]) -> None:
    asked = asked | {"engine": engine}
    assert broken(LAUNCHES[engine].format(0.12), asked) == {"memory[main]"}
    assert broken(LAUNCHES[engine].format(0.85), asked) == set()


def test_a_smaller_share_holds_fewer_requests_at_once() -> None:
    """Played: what waits for room in a small cache has its first token later."""
    small, large = (shardproof.predict(LAUNCHES["vllm"].format(share), OPEN) for share in (0.24, 0.9))
    assert small.ttft_s > large.ttft_s
    untold = LAUNCHES["vllm"].partition(" --gpu")[0]
    assert small.ttft_s == shardproof.predict(untold, OPEN, gpu_memory_utilization=0.24).ttft_s


def test_a_plan_of_a_launch_keeps_its_share(tmp_path: Path) -> None:
    launch = LAUNCHES["vllm"].format(0.24)
    made = shardproof.export(launch, OPEN, to="vllm")
    scripts = [text for name, text in made.files.items() if name.endswith(".sh")]
    assert scripts
    assert all("--gpu-memory-utilization 0.24" in text for text in scripts)
    made.write(tmp_path)
    own = shardproof.predict(launch, OPEN).ttft_s
    assert shardproof.predict(tmp_path / "plan.json", OPEN).ttft_s == own
    best = shardproof.audit(tmp_path / "plan.json", OPEN, completion=False).audit.context.best
    assert best is not None
    assert best.evaluation.ttft / 1e9 == own


def test_compare_says_nothing_good_of_a_plan_that_breaks_a_limit() -> None:
    found = shardproof.compare(LAUNCHES["vllm"].format(0.12), instance=BURST)
    ((first, *others),) = (sentences for _, sentences in found.comparison.savings)
    assert first.startswith("1 GPU, but it breaks memory; the optimum keeps every limit with 1; TTFT")
    assert any("breaks memory[main][stage=0]" in sentence for sentence in others)
    assert not any("USD/h" in sentence for sentence in others)
    ((kept, *_),) = (s for _, s in shardproof.compare(LAUNCHES["vllm"].format(0.9), instance=BURST).comparison.savings)
    assert kept.startswith("1 GPU, as many as the optimum; TTFT")


TRTLLM = """trtllm-serve Qwen/Qwen3-8B --max_seq_len 4096 --extra_llm_api_options o.yaml
"""


@pytest.mark.parametrize(("share", "rows"), [("0.01", {"memory[main]"}), ("0.5", set())])
def test_tensorrt_llm_takes_a_share_of_what_weights_leave(tmp_path: Path, share: str, rows: set[str]) -> None:
    (tmp_path / "o.yaml").write_text(f"kv_cache_config: {{free_gpu_memory_fraction: {share}}}\n", encoding="utf-8")
    launch = tmp_path / "run.sh"
    launch.write_text(TRTLLM, encoding="utf-8")
    many = {
        "engine": "trtllm",
        "workload": BURST["workload"] | {"batch_size": 64},
        "limits": {"ttft": "20 s", "max_gpus": 1},
    }
    audit = shardproof.audit(launch, BURST | many, completion=False)
    assert {item.group for item in audit.violations} == rows
    assert audit.plan is not None


def test_more_of_what_is_free_is_more_of_the_device(tmp_path: Path) -> None:
    asked, found = LOOP | {"engine": "trtllm"}, []
    for share in ("0.1", "0.6"):
        launch = f"trtllm-serve Qwen/Qwen3-8B --max_seq_len 4096 --kv_cache_free_gpu_memory_fraction {share}"
        plan = shardproof.audit(launch, asked, completion=False).audit.context.best
        assert plan is not None
        assert plan.plan.launched is not None
        found.append(plan.plan.launched.memory_share)
    weights = 16.4e9 / 80e9
    assert found[0] is not None
    assert found[1] is not None
    assert weights < found[0] < found[1] < 1
    assert float(1 - found[1]) / float(1 - found[0]) == pytest.approx(0.4 / 0.9)


def test_a_launch_that_tells_no_share_has_the_default_of_its_engine() -> None:
    """Two H100 hold 34 requests at 95 % of their memory, which a plan of ours would tell them, not at vLLM's 90 %."""
    load = {"kind": "closed-loop", "concurrency": 34, "input_tokens": 1000, "output_tokens": 100}
    asked = BURST | {"model": "llama-3.3-70b", "workload": load, "limits": {"ttft": "20 s"}}
    launch = "vllm serve meta-llama/Llama-3.3-70B-Instruct --tensor-parallel-size 2 --max-model-len 1100"
    flags = ("", " --gpu-memory-utilization 0.9", " --gpu-memory-utilization 0.95")
    untold, told, more = (shardproof.audit(launch + flag, asked, completion=False).to_dict() for flag in flags)
    assert untold["copies"] == told["copies"]
    assert untold["verdict"].endswith("and it takes 3 copies")
    assert more["copies"] is None
    assert "copies" not in more["verdict"]
