"""Round trip: what `solve` found is exported to every target that can express it, and `audit` finds nothing wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import shardproof
from shardproof.instances.errors import InputError
from shardproof.solver.exporters.export import EXPORTERS

ENGINES = ("vllm", "sglang", "trtllm")
QUESTIONS: dict[str, dict[str, Any]] = {
    "dense": {"model": "qwen3-8b", "device": "h100-sxm", "isl": 1024, "osl": 128, "batch_size": 64, "ttft": "1 s"},
    "stages": {"model": "qwen3-32b", "device": "l40s", "isl": 512, "osl": 128, "batch_size": 16, "ttft": "4 s"},
    "experts": {"model": "qwen3-235b-a22b-fp8", "device": "h100-sxm", "isl": 1024, "osl": 128, "batch_size": 32},
    "nodes": {"model": "deepseek-r1", "device": "h100-sxm", "isl": 1024, "osl": 128, "batch_size": 16, "ttft": "10 s"},
    "loop": {"model": "llama-3.1-8b", "device": "a100-80-sxm", "isl": 2000, "osl": 300, "concurrency": 100},
    "mixed": {
        "model": "qwen3-30b-a3b-fp8",
        "device": "l40s",
        "isl": 1024,
        "osl": 128,
        "concurrency": 32,
        "tpot": "30 ms",
    },
    "cache": {"model": "qwen3-14b", "device": "l40s", "isl": 2000, "osl": 300, "batch_size": 32, "kv_cache": "fp8"},
}


PAIRS = [(name, engine) for name in QUESTIONS for engine in ENGINES if name != "mixed" or engine == "sglang"]


@pytest.mark.slow  # nineteen instances are solved and audited in eleven forms each, 20 s on two cores
@pytest.mark.parametrize(("name", "engine"), PAIRS)
def test_audit_confirms_what_was_solved(name: str, engine: str, tmp_path: Path) -> None:
    answer = shardproof.solve(engine=engine, **QUESTIONS[name])
    assert answer.plan is not None
    written, refused = 0, list[str]()
    for target in EXPORTERS:
        try:
            made = shardproof.export(answer, to=target)
        except InputError as refusal:
            refused.append(str(refusal))
            continue
        made.write(tmp_path / target)
        found = shardproof.audit(tmp_path / target, completion=False)
        assert [(target, claim.statement) for claim in found.wrong] == []
        assert found.exit_code == 0
        written += 1
    assert all("cannot express it: " in said for said in refused)
    assert written >= 3
