"""Iterations of closed loops: a plan's microbatch is that of all attention replicas, a line's flag that of one."""

from __future__ import annotations

from pathlib import Path

import shardproof
from shardproof.solver.audit.audit import audit_document
from shardproof.solver.documents.reader import read_document

QUESTION = {
    "model": "nemotron-3-super-120b-a12b-fp8",
    "device": "h200-sxm",
    "engine": {"name": "vllm"},
    "workload": {"kind": "closed-loop", "concurrency": 200, "input_tokens": 1024, "output_tokens": 500},
    "limits": {"max_gpus": 16},
}


def test_a_plan_file_with_attention_replicas_is_audited_as_it_was_solved(tmp_path: Path) -> None:
    """Two attention replicas run 8,192 tokens each; the plan says 16,384, and no audit takes that for one of them."""
    solved = shardproof.solve(QUESTION, dp=2)
    assert solved.plan is not None
    path = tmp_path / "plan.json"
    path.write_text(solved.plan.model_dump_json(exclude_none=True), encoding="utf-8")
    best = audit_document(read_document(path), solved.instance).context.best
    assert best is not None
    assert solved.metrics is not None
    assert best.evaluation.peak_memory == solved.metrics.peak_memory_bytes
    assert best.evaluation.ttft / 1e9 == solved.metrics.ttft_s
