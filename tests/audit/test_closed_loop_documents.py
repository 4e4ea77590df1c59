"""A document that `compare` writes for a closed loop is confirmed by `audit` under the same question."""

from __future__ import annotations

from pathlib import Path

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
