"""Printed commands: every flag is one that the engine knows, and says what the plan decided."""

from __future__ import annotations

import json
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from shardproof.instances.plan import Plan, Stage
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.evaluation.engine_flags import engine_flags
from shardproof.solver.solve import solve
from tests.oracles.places import SHARED

FLAG_FILES = {"vllm": "vllm-0.33.0-flags.json", "sglang": "sglang-0.5.23-flags.json"}


def asked(**changes: Any) -> dict[str, Any]:
    load = {"kind": "burst", "batch_size": 8, "input_tokens": 1024, "output_tokens": 64}
    return {"name": "t", "model": "llama-3.1-8b", "device": "h100-sxm", "engine": "vllm", "workload": load} | changes


def flags_of(tree: dict[str, Any], stages: list[dict[str, Any]], **plan: Any) -> tuple[str, ...]:
    instance = resolve_tree(tree, where="test")
    made = Plan(
        **({"replicas": 1, "microbatch_tokens": 4096} | plan),
        stages=tuple(Stage(**stage) for stage in stages),
        model=instance.model.name,
        engine=instance.engine,
    )
    return engine_flags(instance, made)


def stage(first: int, last: int, *, tp: int = 1, dp: int = 1, ep: int = 1) -> dict[str, Any]:
    width = tp * dp
    return {"layers": [first, last], "gpus": width, "attn_tp": tp, "attn_dp": dp, "moe_tp": width // ep, "moe_ep": ep}


def values(line: str) -> dict[str, str]:
    words = shlex.split(line)
    pairs = zip(words, [*words[1:], ""], strict=True)
    return {word: "" if after.startswith("--") else after for word, after in pairs if word.startswith("--")}


@lru_cache(maxsize=2)
def known(engine: str) -> frozenset[str]:
    path = SHARED / "exports" / FLAG_FILES[engine]
    if not path.is_file():
        pytest.skip("the engines' option lists are not beside the project")
    tree = json.loads(Path(path).read_text())
    return frozenset(tree) | {name for entry in tree.values() for name in entry.get("all", ())}


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize("nodes", [1, 2])
def test_every_flag_is_known_to_the_engine(engine: str, nodes: int) -> None:
    tree = asked(
        model="qwen3-235b-a22b-fp8",
        engine={"name": engine, "enforce_eager": True, "block_size": 32},
        precision={"kv_cache": "fp8"},
    )
    lines = flags_of(tree, [stage(0, 93, tp=4, dp=2 * nodes, ep=8 * nodes)])
    commands = [line for line in lines if "vllm serve" in line or "sglang.launch_server" in line]
    assert len(commands) == nodes
    assert all(set(values(line)) <= known(engine) for line in commands)


def test_vllm_is_told_what_the_plan_decided() -> None:
    tree = asked(workload={"kind": "closed-loop", "concurrency": 256, "input_tokens": 32, "output_tokens": 64})
    told = values(flags_of(tree, [stage(0, 31)], microbatch_tokens=32)[0])
    assert told["--max-model-len"] == "96"
    assert told["--max-num-seqs"] == "256"
    assert int(told["--max-num-batched-tokens"]) >= 256


def test_sglang_counts_requests_and_chunks_over_all_dp_ranks() -> None:
    one = values(flags_of(asked(model="deepseek-r1", device="h200-sxm", engine="sglang"), [stage(0, 60, tp=8)])[0])
    eight = values(
        flags_of(asked(model="deepseek-r1", device="h200-sxm", engine="sglang"), [stage(0, 60, dp=8, ep=8)])[0]
    )
    assert (one["--max-running-requests"], eight["--max-running-requests"]) == ("8", "8")
    assert int(eight["--chunked-prefill-size"]) % 8 == 0
    assert eight["--dp-size"] == "8"


@pytest.mark.parametrize("engine", ["sglang", "sglang@0.5.5"])
def test_dp_attention_is_told_in_the_form_that_every_release_takes(engine: str) -> None:
    """0.5.23 turns it into its own flag (arg_groups/parallel_hook.py); releases before do not know that one."""
    told = values(flags_of(asked(model="deepseek-r1", device="h200-sxm", engine=engine), [stage(0, 60, dp=8, ep=8)])[0])
    assert told["--dp-size"] == "8"
    assert "--enable-dp-attention" in told
    assert "--attn-dp-size" not in told


def test_newer_releases_of_sglang_have_a_flag_of_their_own() -> None:
    tree = asked(model="deepseek-r1", device="h200-sxm", engine="sglang@0.5.23")
    told = values(flags_of(tree, [stage(0, 60, dp=8, ep=8)])[0])
    assert told["--attn-dp-size"] == "8"
    assert "--dp-size" not in told


def test_unequal_stages_are_told_their_layers() -> None:
    line = flags_of(asked(), [stage(0, 14), stage(15, 31)])[0]
    assert line.startswith("VLLM_PP_LAYER_PARTITION=15,17 ")
    assert values(line)["--pipeline-parallel-size"] == "2"


@pytest.mark.parametrize(
    ("stages", "tp", "nodes"),
    [(5, 2, 5), (6, 2, 2), (2, 8, 2), (3, 4, 3), (4, 4, 2), (1, 16, 2), (2, 16, 4), (9, 1, 3), (11, 1, 11)],
)
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_no_stage_is_torn_apart_between_nodes(engine: str, stages: int, tp: int, nodes: int) -> None:
    layers = [place * 80 // stages for place in range(stages + 1)]
    tree = asked(model="llama-3.1-70b", engine=engine, limits={"max_gpus": 32})
    lines = flags_of(tree, [stage(layers[at], layers[at + 1] - 1, tp=tp) for at in range(stages)])
    told = [values(line) for line in lines if "--node-rank" in line]
    assert [line["--nnodes"] for line in told] == [str(nodes)] * nodes
    each = stages * tp // nodes
    assert each <= 8
    assert each % tp == 0 or tp % each == 0


def test_each_node_has_its_line() -> None:
    tree = asked(model="llama-3.1-405b", engine="vllm")
    lines = [line for line in flags_of(tree, [stage(0, 62, tp=8), stage(63, 125, tp=8)]) if "vllm serve" in line]
    assert [values(line)["--node-rank"] for line in lines] == ["0", "1"]
    assert "--headless" not in values(lines[0])
    assert "--headless" in values(lines[1])


def test_trtllm_has_a_file_that_reads_as_yaml() -> None:
    tree = asked(engine="trtllm", precision={"kv_cache": "fp8"})
    command, *rest = flags_of(tree, [stage(0, 31, tp=2)])
    end = next(place for place, line in enumerate(rest) if "account" in line)
    config = yaml.safe_load("\n".join(rest[:end]))
    assert command.startswith("trtllm-serve ")
    assert config["tensor_parallel_size"] == 2
    assert config["kv_cache_config"]["dtype"] == "fp8"
    assert config["max_seq_len"] == 1088


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B"])
def test_the_id_that_was_asked_is_served(name: str) -> None:
    assert f"vllm serve {name} " in flags_of(asked(model=name), [stage(0, 31)])[0]


def test_a_config_is_served_from_its_folder(tmp_path: Path) -> None:
    source = SHARED / "public_cases" / "awq-29568" / "config.json"
    if not source.is_file():
        pytest.skip("the public cases are not beside the project")
    folder = tmp_path / "with space"
    folder.mkdir()
    (folder / "config.json").write_text(source.read_text())
    line = flags_of(asked(model=str(folder / "config.json")), [stage(0, 79)])[0]
    assert shlex.split(line)[2] == str(folder)


def test_weights_that_no_checkpoint_has_are_said() -> None:
    online = flags_of(asked(precision={"weights": "fp8"}), [stage(0, 31)])
    assert values(online[0])["--quantization"] == "fp8"
    missing = flags_of(asked(precision={"weights": "nvfp4"}), [stage(0, 31)])
    assert "--quantization" not in values(missing[0])
    assert any("stores its weights in bf16" in line for line in missing)


def test_weights_that_do_not_fit_before_they_are_quantised_are_said() -> None:
    """141 GB of Llama-3.3-70B in bf16 pass through no card of 80 GB on their way to FP8."""
    tree = asked(model="meta-llama/Llama-3.3-70B-Instruct", precision={"weights": "fp8"})
    alone, halved = flags_of(tree, [stage(0, 79)]), flags_of(tree, [stage(0, 79, tp=2)])
    assert "--quantization" not in values(alone[0])
    assert any("GB on each device before" in line for line in alone)
    assert values(halved[0])["--quantization"] == "fp8"


def test_settings_are_printed_as_they_were_set() -> None:
    engine = {
        "name": "vllm",
        "gpu_memory_utilization": "0.8",
        "max_num_seqs": 8,
        "max_num_batched_tokens": 2048,
        "max_model_len": 4000,
    }
    result = solve(resolve_tree(asked(engine=engine), where="test"))
    told = values(result.engine_flags[0])
    assert told["--gpu-memory-utilization"] == "0.8"
    assert told["--max-num-seqs"] == "8"
    assert told["--max-num-batched-tokens"] == "2048"
    assert told["--max-model-len"] == "4000"


def test_a_wide_cache_is_said_where_the_checkpoint_has_a_narrow_one() -> None:
    narrow = asked(model="deepseek-v3.1-nvfp4", device="b200-sxm")
    assert values(flags_of(narrow, [stage(0, 60, tp=4)])[0])["--kv-cache-dtype"] == "fp8"
    wide = asked(model="deepseek-v3.1-nvfp4", device="b200-sxm", precision={"kv_cache": "bf16"})
    assert values(flags_of(wide, [stage(0, 60, tp=4)])[0])["--kv-cache-dtype"] == "bfloat16"
    assert "--kv-cache-dtype" not in values(flags_of(asked(precision={"kv_cache": "bf16"}), [stage(0, 31)])[0])
