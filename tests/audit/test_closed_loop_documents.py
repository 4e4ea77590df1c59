"""A document that `compare` writes for a closed loop is confirmed by `audit` under the same question."""

from __future__ import annotations

from pathlib import Path

import pytest

import shardproof
from shardproof.instances.resolve import load_instance
from shardproof.solver.audit.audit import audit_document
from shardproof.solver.documents.reader import read_document
from shardproof.solver.solve import solve
from shardproof.solver.writers.deployment_document import write_document

CASE = """
model: llama-3.1-70b-fp8
device: h100-sxm
engine: vllm
workload: {kind: closed-loop, concurrency: 32, input_tokens: 2000, output_tokens: 500}
limits: {ttft: 2 s, tpot: 40 ms, max_gpus: 8}
"""


def test_what_compare_writes_audit_confirms(tmp_path: Path) -> None:
    case, page = tmp_path / "case.yaml", tmp_path / "plan.md"
    case.write_text(CASE)
    instance = load_instance(case)
    page.write_text(write_document(instance, solve(instance)))
    found = audit_document(read_document(page), instance)
    assert [claim.formula for claim in found.claims if claim.verdict in ("contradicted", "inconsistent")] == []
    assert sum(claim.verdict == "confirmed" for claim in found.claims) > 15


LAUNCH = "vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 1 --data-parallel-size 2"
LOOP = {
    "model": "llama-3.1-8b-instruct",
    "device": "h100-sxm",
    "engine": "vllm",
    "workload": {"kind": "closed-loop", "concurrency": 32, "input_tokens": 1000, "output_tokens": 100},
    "limits": {"ttft": "1 s", "tpot": "40 ms", "max_gpus": 2},
}


@pytest.mark.parametrize(("sequences", "code"), [(2, 4), (16, 0), (256, 0)])
def test_a_loop_runs_as_many_requests_as_its_launch_allows(sequences: int, code: int) -> None:
    launch = f"{LAUNCH} --max-num-seqs {sequences}"
    told = shardproof.predict(LAUNCH, LOOP, max_num_seqs=min(16, sequences))
    found = shardproof.predict(launch, LOOP)
    assert (found.ttft_s, found.tpot_ms) == (told.ttft_s, told.tpot_ms)
    audited = shardproof.audit(launch, LOOP, completion=False)
    assert audited.exit_code == code
    assert any(broken.group == "running[max_num_seqs]" for broken in audited.violations) == bool(code)
    best = audited.audit.context.best
    assert best is not None
    assert best.evaluation.ttft / 1e9 == found.ttft_s


def test_a_launch_outranks_the_file_of_the_question() -> None:
    narrow = LOOP | {"engine": {"name": "vllm", "max_num_seqs": 2}}
    found = shardproof.audit(f"{LAUNCH} --max-num-seqs 16", narrow, completion=False)
    assert found.exit_code == 0
    assert shardproof.audit(LAUNCH, narrow, completion=False).exit_code == 4
