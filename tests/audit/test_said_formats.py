"""Formats of weights that running text says, and those that it says of something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproof.solver.audit.review import review
from shardproof.solver.documents.said_formats import stored_as


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("We serve Qwen3-235B-A22B in FP8 on 8 x H100.", "fp8"),
        ("Qwen3-32B, quantised to INT4 (AWQ), runs on one L4.", "int4"),
        ("The model is quantized with AWQ.", "int4"),
        ("Llama-3.1-70B-Instruct is served at FP8 precision; the KV cache stays in BF16.", "fp8"),
        ("An FP8-quantized model.", "fp8"),
        ("Its weights are kept in BF16.", "bf16"),
        ("We load the FP8 checkpoint on four GPUs.", "fp8"),
        ("# Qwen3-32B in BF16 on four GPUs", "bf16"),
        ("The KV cache is kept in FP8.", None),
        ("It runs with a KV cache in FP8.", None),
        ("The H100 delivers 1979 TFLOPS in FP8.", None),
        ("Activations run in BF16.", None),
        ("In BF16 Qwen3-32B in BF16 would need two GPUs.", None),
        ("Unlike Llama-3.1-70B in FP16, it fits.", None),
        ("It is not quantised to INT4.", None),
        ("Served in FP8 here; the twin is served in BF16.", None),
        ("8 GPUs in total.", None),
    ],
)
def test_the_format_of_the_weights_is_read_and_no_other(text: str, dtype: str | None) -> None:
    assert stored_as(text) == dtype


def test_a_format_that_is_said_decides_whether_weights_fit(tmp_path: Path) -> None:
    path = tmp_path / "plan.md"
    text = "# Serving\n\nQwen3-32B{} runs on one L4 with vLLM and tensor parallelism 1.\n"
    verdicts = {}
    for said in ("", ", quantised to INT4 (AWQ),"):
        path.write_text(text.format(said), encoding="utf-8")
        claims = review(path).claims
        verdicts[said] = next(claim.wrong for claim in claims if claim.statement.field == "weights_fit")
    assert verdicts == {"": True, ", quantised to INT4 (AWQ),": False}


def test_a_degree_may_end_its_sentence(tmp_path: Path) -> None:
    path = tmp_path / "plan.md"
    path.write_text("# Serving\n\nQwen3-32B runs with vLLM and tensor parallelism 3.\n", encoding="utf-8")
    assert any("64 heads over 3" in claim.formula for claim in review(path).claims if claim.wrong)
