"""Start logs of three engines, each as two of its versions print them."""

from __future__ import annotations

from pathlib import Path

import pytest

import shardproof
from shardproof.instances.errors import InputError
from shardproof.solver.benchmarking.start_logs import read_start_log
from tests.benchmarking.test_results import PLAN, QUESTION

GIB = 2**30
LOGS: dict[str, tuple[str, str, dict[str, float]]] = {
    "vllm-0.33": (
        "vllm",
        """\
(EngineCore pid=5) INFO 11-20 10:00:01 [gpu_model_runner.py:5089] Model loading took 15.27 GiB memory and 4.1 seconds
(EngineCore pid=5) INFO 11-20 10:00:09 [gpu_model_runner.py:6410] Estimated CUDA graph memory: 0.55 GiB total
(EngineCore pid=5) INFO 11-20 10:00:09 [gpu_worker.py:773] Available KV cache memory: 55.10 GiB
(EngineCore pid=5) INFO 11-20 10:00:09 [kv_cache_utils.py:1147] GPU KV cache size: 401,216 tokens, Maximum \
concurrency for 40,960 tokens per request: 9.80x
(EngineCore pid=5) INFO 11-20 10:00:12 [gpu_model_runner.py:6516] Graph capturing finished in 3 secs, took 0.49 GiB
""",
        {
            "weights": 15.27 * GIB,
            "kv_cache": 55.10 * GIB,
            "kv_tokens": 401216,
            "concurrency": 9.80,
            "cuda_graphs": 0.49 * GIB,
        },
    ),
    "sglang-0.5.23": (
        "sglang",
        """\
[2026-11-20 10:00:00 TP0] Load weight end. elapsed=4.1 s, type=Qwen3ForCausalLM, avail mem=63.20 GB, mem usage=15.27 GB.
[2026-11-20 10:00:01 TP0] KV Cache VA upper bound. dtype: torch.bfloat16, #tokens: 500000, K size: 34.00 GB, \
V size: 34.00 GB
[2026-11-20 10:00:09 TP0] Capture target prefill CUDA graph end. elapsed=2.10 s, mem usage=0.30 GB, avail mem=60.00 GB.
[2026-11-20 10:00:12 TP0] Capture target decode CUDA graph end. elapsed=3.00 s, mem usage=0.45 GB, avail mem=59.50 GB.
[2026-11-20 10:00:12 TP1] Capture target decode CUDA graph end. elapsed=3.00 s, mem usage=0.50 GB, avail mem=59.50 GB.
[2026-11-20 10:00:13 TP0] Post-capture KV sizing: KV cache allocated. dtype: torch.bfloat16, #tokens: 421000, \
KV size: 57.80 GB, avail mem=5.10 GB
[2026-11-20 10:00:13 TP0] Post-capture KV sizing: draft KV cache allocated. dtype: torch.bfloat16, #tokens: 1000, \
KV size: 0.20 GB
[2026-11-20 10:00:13 TP0] max_total_num_tokens=421000, chunked_prefill_size=8192, max_prefill_tokens=16384, \
max_running_requests=4096, context_len=40960, available_gpu_mem=5.10 GB
""",
        {
            "weights": 15.27 * GIB,
            "kv_tokens": 421000,
            "kv_cache": 57.80 * GIB,
            "cuda_graphs": 0.80 * GIB,
            "sequences": 4096,
        },
    ),
    "vllm-new": (
        "vllm",
        """\
(Worker_TP0 pid=7) INFO 05-06 20:59:59 [gpu_model_runner.py:4879] Model loading took 12.66 GiB memory and 31.6 seconds
(Worker_TP1 pid=8) INFO 05-06 20:59:59 [gpu_model_runner.py:4879] Model loading took 12.70 GiB memory and 31.9 seconds
(Worker_TP0 pid=7) INFO 05-06 21:00:48 [gpu_worker.py:349] Available KV cache memory: 52.30 GiB
(EngineCore pid=5) INFO 05-06 21:00:48 [kv_cache_utils.py:1710] GPU KV cache size: 396,928 tokens
(EngineCore pid=5) INFO 05-06 21:00:48 [kv_cache_utils.py:9] Maximum concurrency for 131,072 tokens per request: 3.03x
INFO 05-06 21:00:50 [gpu_model_runner.py:6243] Graph capturing finished in 2 secs, took 0.11 GiB
""",
        {
            "weights": 12.70 * GIB,
            "kv_cache": 52.30 * GIB,
            "kv_tokens": 396928,
            "concurrency": 3.03,
            "cuda_graphs": 0.11 * GIB,
        },
    ),
    "vllm-old": (
        "vllm",
        """\
INFO 03-21 20:15:45 [worker.py:267] model weights take 12.55GiB; non_torch_memory takes 0.16GiB; PyTorch activation \
peak memory takes 2.38GiB; the rest of the memory reserved for KV Cache is 56.18GiB.
INFO 03-21 20:15:46 [executor_base.py:111] # cuda blocks: 7191, # CPU blocks: 512
""",
        {"weights": 12.55 * GIB, "activations": 2.38 * GIB, "kv_cache": 56.18 * GIB, "kv_blocks": 7191},
    ),
    "sglang-new": (
        "sglang",
        """\
[2025-11-11 04:05:43 TP0] Load weight end. type=LlamaForCausalLM, avail mem=28.91 GB, mem usage=15.09 GB.
[2026-06-08 07:20:53 TP0] KV Cache is allocated. dtype: bf16, #tokens: 1106304, K size: 25.32 GB, V size: 25.32 GB
[2025-11-10 19:59:08 TP0] Capture cuda graph end. Time elapsed: 11.39 s. mem usage=1.00 GB. avail mem=11.17 GB.
""",
        {"weights": 15.09 * GIB, "kv_tokens": 1106304, "kv_cache": 50.64 * GIB, "cuda_graphs": GIB},
    ),
    "sglang-old": (
        "sglang",
        """\
[2025-03-27 21:33:31 TP0] KV Cache is allocated. #tokens: 834615, KV size: 54.12 GB
[2025-03-27 21:33:40 TP0] max_total_num_tokens=834615, chunked_prefill_size=8192, max_running_requests=2049
""",
        {"kv_tokens": 834615, "kv_cache": 54.12 * GIB, "sequences": 2049},
    ),
    "trtllm-new": (
        "trtllm",
        """\
[TRT-LLM] [I] Memory used after loading model weights (inside torch) in memory usage profiling: 15.08 GiB
[TensorRT-LLM][INFO] [MemUsageChange] Allocated 52.10 GiB for max tokens in paged KV cache (379392).
""",
        {"weights": 15.08 * GIB, "kv_cache": 52.10 * GIB, "kv_tokens": 379392},
    ),
    "trtllm-old": (
        "trtllm",
        """\
[TensorRT-LLM][INFO] Loaded engine size: 6683 MiB
[TensorRT-LLM][INFO] Allocate 69524783104 bytes for k/v cache.
[TensorRT-LLM][INFO] Using 132608 tokens in paged KV cache.
""",
        {"weights": 6683 * 2**20, "kv_cache": 69524783104, "kv_tokens": 132608},
    ),
}


@pytest.mark.parametrize("name", LOGS)
def test_logs_are_read(name: str, tmp_path: Path) -> None:
    engine, text, wanted = LOGS[name]
    path = tmp_path / "server.log"
    path.write_text("INFO something else\n" + text)
    found = read_start_log(path)
    assert found.engine == engine
    assert found.values == pytest.approx(wanted)
    assert min(found.lines.values()) >= 2


def test_the_account_is_held_against_the_log(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text(LOGS["vllm-new"][1])
    found = shardproof.check(PLAN, None, QUESTION, log=path)
    rows = {row["quantity"]: row for row in found.rows()}
    engine = shardproof.predict(PLAN, QUESTION).metrics.engine_memory
    assert engine is not None
    assert rows["kv_tokens"]["predicted"] == engine.kv_tokens
    assert rows["kv_tokens"]["at"] == "line 4"
    assert rows["concurrency"]["predicted"] == pytest.approx(engine.kv_tokens / 576)
    assert any("weights: 12.7 GiB is 0.83 x the account" in said for said in found.parts[0].findings)


def test_a_log_of_another_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text(LOGS["sglang-new"][1])
    with pytest.raises(InputError, match="is of sglang, the plan is for vllm"):
        shardproof.check(PLAN, None, QUESTION, log=path)


@pytest.mark.parametrize("name", ["empty.log", "missing.log"])
def test_a_log_without_memory_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.log").write_text("INFO hello\n")
    with pytest.raises(InputError, match="start"):
        read_start_log(tmp_path / name)
