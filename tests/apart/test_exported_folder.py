"""Both pools of a deployment that was exported, audited as the one plan that they are: played where requests come."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import shardproof

QUESTION: dict[str, Any] = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "engine": "vllm",
    "serving": "apart",
    "workload": {"kind": "requests", "rate": "4/s", "input_tokens": 2000, "output_tokens": 200},
    "limits": {"ttft_p99": "2 s", "tpot_p99": "50 ms"},
}
GROUP = {"replicas": 1, "microbatch_tokens": 8192}
STAGE = {"layers": [0, 35], "gpus": 1, "attn_tp": 1, "attn_dp": 1, "moe_tp": 1, "moe_ep": 1}
PLAN = {
    "replicas": 2,
    "microbatch_tokens": 8192,
    "engine": "vllm",
    "groups": [{**GROUP, "pool": pool, "stages": [STAGE]} for pool in ("prefill", "decode")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("apart") / "out"
    shardproof.export(PLAN, QUESTION, to="kubernetes").write(place)
    return place


def rows(audited: shardproof.Audited) -> dict[str, int]:
    """Rows of the one launch that the whole is held at, by name and place."""
    (whole,) = (audit for audit in audited.review.audits if audit.joined is not None)
    assert whole.joined is not None
    assert whole.joined.gpus == 2
    return {f"{check.group} {check.index}": check.value for check in whole.checks}


def test_a_folder_of_both_pools_is_played(folder: Path) -> None:
    found = shardproof.audit(folder, QUESTION, completion=False)
    assert found.exit_code == 0
    checks = rows(found)
    assert {"ttft_p99[main] service", "tpot_p99[main] service", "max_gpus plan"} <= checks.keys()
    assert any(name.startswith("memory[main] decode") for name in checks)


def test_a_pool_that_runs_one_request_at_a_time_piles_up(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        if "decode" in file.name:
            text = re.sub(r"(--max-num-seqs\n\s+- )'?\d+'?", r"\1'1'", text)
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    found = shardproof.audit(tmp_path, QUESTION, completion=False)
    assert found.exit_code == 4
    assert {item.group for item in found.violations} & {"load[main]", "ttft_p99[main]", "tpot_p99[main]"}


def test_a_plan_of_both_pools_is_played_too(tmp_path: Path) -> None:
    """The plan file breaks what the service breaks, in audit and compare alike."""
    hurried = QUESTION | {"limits": {"ttft_p99": "60 ms", "tpot_p99": "50 ms"}}
    file = tmp_path / "plan.json"
    file.write_text(shardproof.Plan.model_validate(PLAN).model_dump_json(exclude_none=True), encoding="utf-8")
    audited = shardproof.audit(file, hurried, completion=False)
    assert "ttft_p99[main]" in {item.group for item in audited.violations}


def test_the_plan_file_of_a_pool_answers_no_question_alone(folder: Path) -> None:
    """Beside its launches its rows are those of the whole; a file of other degrees is judged by itself."""
    load = {"kind": "closed-loop", "concurrency": 64, "input_tokens": 2000, "output_tokens": 200}
    question = QUESTION | {"workload": load, "limits": {"ttft": "30 s", "tpot": "50 ms"}}
    found = shardproof.audit(folder, question, completion=False)
    files = [audit for audit in found.review.audits if audit.document.start is None]
    assert len(files) == 2
    assert all(audit.context.best is not None and audit.context.best.evaluation.checks for audit in files)
    assert [(audit.violations, audit.checks) for audit in files] == [((), ()), ((), ())]
