"""Exported files tell the engine what `solve` printed: every target and engine, of requests that keep coming."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

import shardproof
from shardproof.instances.errors import InputError
from shardproof.solver.exporters.export import EXPORTERS

OPEN: dict[str, Any] = {"isl": 800, "osl": 60, "request_rate": "8", "ttft_p99": "1 s", "tpot_p99": "30 ms"}
LOADS: dict[str, dict[str, Any]] = {
    "open": OPEN,
    "open-long": OPEN | {"isl": 3000, "request_rate": "2"},
    "open-told": OPEN | {"max_num_seqs": 48, "max_num_batched_tokens": 1024},
    "open-apart": OPEN | {"serving": "apart"},
    "closed": {"isl": 800, "osl": 60, "concurrency": 16, "tpot": "30 ms"},
}
ENGINES = ("vllm", "sglang", "trtllm")
TOLD = {
    "vllm": ("max-num-seqs", "max-num-batched-tokens", "max-model-len", "gpu-memory-utilization"),
    "sglang": ("max-running-requests", "chunked-prefill-size", "context-length", "mem-fraction-static"),
    "trtllm": ("max_batch_size", "max_num_tokens", "max_seq_len", "free_gpu_memory_fraction"),
}
"""What each engine calls requests at once, tokens of an iteration, the longest request, and its share of memory."""

TARGETS = {
    "vllm": set(EXPORTERS) - {"sglang", "trtllm"},
    "sglang": {"sglang", "docker-compose", "kubernetes", "slurm", "dynamo"},
    "trtllm": {"trtllm", "docker-compose", "kubernetes", "slurm", "dynamo"},
}
POOLED = {"vllm", "sglang", "trtllm", "kubernetes", "kserve", "dynamo", "llm-d"}
"""Targets that have a router of both pools."""


@cache
def solved(engine: str, load: str) -> Any:
    return shardproof.solve(model="llama-3.2-1b-instruct", device="l4", engine=engine, max_gpus=6, **LOADS[load])


def plain(name: str) -> str:
    """A setting by any spelling: a flag, a key, a field of a chart."""
    return re.sub("[-_]", "", name).lower()


def settings(engine: str, text: str) -> dict[str, set[float]]:
    """Values of an engine's settings wherever they stand: in words of a shell, items of a list, keys of YAML."""
    wanted, found = {plain(name) for name in TOLD[engine]}, defaultdict[str, set[float]](set)
    words = [word for word in re.findall(r"[^\s'\",:={}\[\]]+", text) if word != "-"]
    for word, value in pairwise(words):
        if plain(word) in wanted:
            found[plain(word)].add(float(value))
    return dict(found)


def written(files: dict[str, str]) -> str:
    return "\n".join(text for name, text in files.items() if not name.endswith(("README.md", "plan.json")))


@pytest.mark.parametrize("target", EXPORTERS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("load", LOADS)
def test_files_say_what_solve_printed(load: str, engine: str, target: str) -> None:
    answer = solved(engine, load)
    if target not in TARGETS[engine] or (load == "open-apart" and target not in POOLED):
        with pytest.raises(InputError, match="cannot express it"):
            shardproof.export(answer, to=target)
        return
    printed = settings(engine, "\n".join(answer.engine_flags))
    assert len(printed) == len(TOLD[engine])
    assert settings(engine, written(dict(shardproof.export(answer, to=target).files))) == printed


@cache
def fleet() -> Any:
    return shardproof.solve(model="llama-3.2-1b-instruct", devices=["l4", "h100-sxm"], engine="vllm", **OPEN)


@pytest.mark.parametrize("target", sorted(TARGETS["vllm"]))
def test_each_device_of_a_fleet_has_the_settings_of_its_own_answer(target: str) -> None:
    made = shardproof.export(fleet(), to=target)
    wanted: dict[str, set[float]] = {}
    for group in fleet().plan.groups:
        alone = shardproof.solve(model="llama-3.2-1b-instruct", device=group.device, engine="vllm", **OPEN)
        for name, values in settings("vllm", "\n".join(alone.engine_flags)).items():
            wanted.setdefault(name, set()).update(values)
    assert settings("vllm", written(dict(made.files))) == wanted


def test_the_question_in_either_form_is_told_alike() -> None:
    """Defaults of a large card are those of a service, not of one request at a time."""
    answer = shardproof.solve(
        model="qwen3-8b", device="h100-sxm", engine="vllm", isl=2400, osl=300, request_rate="20", ttft_p99="2s"
    )
    found = settings("vllm", written(dict(shardproof.export(answer, to="dynamo").files)))
    assert found["maxnumseqs"] == {1024.0}
    assert found["maxnumbatchedtokens"] == {8192.0}
