"""Flags that an engine does not know: engines end on them at once, so the audit names them and the nearest one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproof.solver.audit.audit import Audit
from shardproof.solver.audit.review import review
from shardproof.solver.audit.verdict import outcome_of, verdict_of
from shardproof.solver.documents.known_flags import recorded, unknown_flag
from shardproof.solver.documents.reader import parse_plans

VLLM = "vllm serve Qwen/Qwen3-32B"


def audited(command: str) -> Audit:
    return review(command).audits[0]


@pytest.mark.parametrize(
    ("command", "nearest"),
    [
        (f"{VLLM} --tensor-paralel-size 8", "--tensor-parallel-size"),
        (f"{VLLM} --gpu_memory_utilisation=0.9", "--gpu-memory-utilization"),
        (f"{VLLM} --max-num-sequences 32", "--max-num-seqs"),
        (f"{VLLM} --tp 2", "-tp"),
        (f"{VLLM} --dp=2", "-dp"),
        ("python -m sglang.launch_server --model-path x/y --mem-fracton-static 0.8", "--mem-fraction-static"),
        ("trtllm-serve Qwen/Qwen3-32B --max_batchsize 8", "--max_batch_size"),
        ("python -m dynamo.vllm --model Qwen/Qwen3-32B --tensor-parallel-sise 2", "--tensor-parallel-size"),
        ("docker run vllm/vllm-openai --model Qwen/Qwen3-32B --pipline-parallel-size 2", "--pipeline-parallel-size"),
    ],
)  # fmt: skip
def test_a_misspelt_flag_is_wrong_by_name_with_the_flag_that_was_meant(command: str, nearest: str) -> None:
    found = audited(command)
    assert found.exit_code == 4
    claim = found.wrong[0]
    assert claim.statement.field == "unknown_flag"
    assert claim.recomputed == nearest
    assert nearest in verdict_of(found)
    assert str(claim.statement.value) in verdict_of(found)


@pytest.mark.parametrize("words", ["-tp 2", "--tensor-par 2", "--tensor_parallel_size=2"])
def test_what_the_parser_takes_is_no_fault(words: str) -> None:
    found = audited(f"{VLLM} {words}")
    assert not [claim for claim in found.claims if claim.statement.field == "unknown_flag"]


def test_sglang_takes_the_beginning_of_a_flag() -> None:
    found = audited("python -m sglang.launch_server --model-path Qwen/Qwen3-32B --tp 2")
    assert not [claim for claim in found.claims if claim.statement.field == "unknown_flag"]


def test_every_misspelt_flag_of_a_command_is_named() -> None:
    found = audited(f"{VLLM} --tensor-paralel-size 8 --max-modl-len 4096")
    assert [claim.recomputed for claim in found.wrong] == ["--tensor-parallel-size", "--max-model-len"]


def test_a_flag_like_no_other_is_said_in_the_verdict_and_is_no_fault() -> None:
    found = audited(f"{VLLM} --tensor-parallel-size 2 --quux-zebra 3")
    assert outcome_of(found) == "nothing wrong"
    assert "--quux-zebra" in verdict_of(found)


@pytest.mark.parametrize(
    "flags",
    [
        "--no-enable-prefix-caching", "--enable_prefix_caching", "--swap-space 4", "--compilation-config.level 3",
        "--tensor-parallel-siz 8", "-tp 8", "-O3", "--disable-log-requests", "--kv-cache-dtype fp8 --port 8000",
    ],
)  # fmt: skip
def test_flags_of_the_engine_in_any_spelling_are_no_unknown_ones(flags: str) -> None:
    assert not [claim for claim in audited(f"{VLLM} {flags}").claims if claim.statement.field == "unknown_flag"]


def test_keyword_arguments_count_as_flags() -> None:
    code = 'from vllm import LLM\nllm = LLM(model="Qwen/Qwen3-32B", tensor_paralel_size=2, trust_remote_code=True)\n'
    (plan,) = parse_plans(code, name="x.py", suffix=".py")
    assert [s.value for s in plan.statements if s.field == "unknown_flag"] == ["--tensor_paralel_size"]


def test_what_turns_off_is_never_taken_for_what_turns_on() -> None:
    found = unknown_flag("vllm", "--disable-eplb")
    assert found is None or not found.meant
    assert recorded("vllm").flags


POD = """apiVersion: apps/v1
kind: Deployment
metadata: {name: llm}
spec:
  template:
    spec:
      containers:
      - image: vllm/vllm-openai:v0.11.0
        args:
        - --model
        - Qwen/Qwen3-32B
        - --tensor-parallel-size
        - "4"
        - --config
        - /etc/vllm/engine.yaml
        resources: {limits: {nvidia.com/gpu: 4}}
"""
OPTIONS = "tensor-parallel-size: 2\nmax-model-len: 8192\ngpu-memory-utilizaton: 0.8\n"


@pytest.mark.parametrize("beside", [True, False])
def test_a_file_of_options_is_judged_as_flags_and_the_command_outranks_it(tmp_path: Path, beside: bool) -> None:
    text = POD
    if beside:
        (tmp_path / "engine.yaml").write_text(OPTIONS)
    else:
        held = "".join(f"    {line}\n" for line in OPTIONS.splitlines())
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  engine.yaml: |\n{held}---\n{POD}"
    (tmp_path / "pod.yaml").write_text(text)
    audit = review(tmp_path / "pod.yaml").audits[0]
    assert [(claim.statement.value, claim.recomputed) for claim in audit.wrong] == [
        ("--gpu-memory-utilizaton", "--gpu-memory-utilization")
    ]
    assert audit.wrong[0].statement.text.startswith("engine.yaml: ") == beside
    assert audit.document.number("tp") == 4
    assert audit.document.number("max_model_len") == 8192
    assert not any("TensorRT-LLM" in line.said for line in audit.document.lines)


def test_a_file_of_options_that_is_not_here_is_said() -> None:
    found = review("vllm serve Qwen/Qwen3-32B --config /etc/vllm/engine.yaml").audits[0]
    assert "engine.yaml is not here" in verdict_of(found)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("nvcr.io/nvidia/ai-dynamo/vllm-runtime:0.6.1", True),
        ("rayproject/ray-llm:2.49.0-py311-cu128", True),
        ("vllm/vllm-openai:v0.11.0", False),
        ("registry.example.com/ourselves/vllm:prod", False),
    ],
)
def test_an_image_of_a_platform_brings_a_release_that_its_tag_does_not_say(image: str, said: bool) -> None:
    found = review(f"docker run --gpus all {image} vllm serve Qwen/Qwen3-32B --tensor-parallel-size 2").audits[0]
    assert any("brings its own release of vLLM" in item.reason for item in found.document.unread) == said
