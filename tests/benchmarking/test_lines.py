"""Lines of benchmark tools send the load of the plan, and nothing that is not asked for."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

import shardproof
from shardproof.instances.errors import InputError
from tests.benchmarking.test_results import PLAN, QUESTION


def options(line: str) -> dict[str, str]:
    words = shlex.split(line)
    return {word: after for word, after in zip(words, [*words[1:], ""], strict=True) if word.startswith("-")}


def asked(**workload: Any) -> dict[str, Any]:
    load = {"input_tokens": 512, "output_tokens": 64} | workload
    return QUESTION | {"workload": load, "limits": {"ttft": "2 s", "tpot": "50 ms"}}


@pytest.mark.parametrize("tool", ["vllm", "aiperf", "genai-perf"])
def test_a_closed_loop_is_kept_full(tool: str) -> None:
    (line,) = shardproof.bench(PLAN, asked(kind="closed-loop", concurrency=16), tool=tool).lines
    told = options(line)
    sent = {"vllm": "--max-concurrency"}.get(tool, "--concurrency")
    count = {"vllm": "--num-prompts", "aiperf": "--num-requests"}.get(tool, "--request-count")
    assert told[sent] == "16"
    assert told[count] == "80"
    assert "--request-rate" not in told
    assert "50" in told["--goodput"] or ":50" in line


@pytest.mark.parametrize("tool", ["vllm", "aiperf", "genai-perf"])
def test_requests_that_come_by_themselves_come_at_their_rate(tool: str) -> None:
    (line,) = shardproof.bench(PLAN, asked(kind="requests", rate="20/s"), tool=tool).lines
    told = options(line)
    assert told["--request-rate"] == "20"
    assert "--max-concurrency" not in told
    assert "--concurrency" not in told
    assert tool != "vllm" or told["--burstiness"] == "1"


def test_a_burst_is_sent_at_once() -> None:
    found = shardproof.bench(PLAN, asked(kind="burst", batch_size=32), tool="vllm")
    told = options(found.lines[0])
    assert told["--num-prompts"] == "32"
    assert "--max-concurrency" not in told
    assert "--num-warmups" not in told
    assert "at once" in found.notes[0]


def test_guidellm_has_its_file() -> None:
    found = shardproof.bench(PLAN, asked(kind="closed-loop", concurrency=16), tool="guidellm")
    tree = yaml.safe_load(found.files["main.guidellm.yaml"])
    assert tree["spec"]["data"] == [{"kind": "synthetic_text", "prompt_tokens": 512, "output_tokens": 64}]
    assert tree["benchmarks"] == [{"profile.streams": 16}]
    assert found.lines == ("guidellm run --config main.guidellm.yaml",)


def test_all_tools_and_all_scenarios_have_lines() -> None:
    assert len(shardproof.bench(PLAN, QUESTION).lines) == 4


def test_an_unknown_tool_is_refused() -> None:
    with pytest.raises(InputError, match="genai-perf"):
        shardproof.bench(PLAN, QUESTION, tool="wrk")
