"""Scopes that stand beside a number bind it, whichever side they stand on."""

from __future__ import annotations

import pytest

from shardproof.instances.errors import InputError
from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.documents.reader import parse_document


def audited(lines: str) -> Audit:
    text = f"# Plan\n\n- Model: Qwen3-32B FP8\n- GPU: 2 x H100 SXM\n- TP: 2\n\n{lines}\n"
    return audit_document(parse_document(text, name="plan", suffix=".md"))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("- Weights: 33 GB per GPU", "weights_per_gpu"),
        ("- Weights: 33 GB/GPU", "weights_per_gpu"),
        ("- Weights: 33 GB (per GPU)", "weights_per_gpu"),
        ("- Weights: 33 GB, per GPU", "weights_per_gpu"),
        ("Weights are 33 GB on each of the 8 GPUs", "weights_per_gpu"),
        ("- Weights: per GPU 33 GB", "weights_per_gpu"),
        ("- Weights per GPU: 33 GB", "weights_per_gpu"),
        ("- Per GPU: weights take 33 GB", "weights_per_gpu"),
        ("On each GPU the weights take 33 GB.", "weights_per_gpu"),
        ("The weights take 33 GB on every card.", "weights_per_gpu"),
        ("| Part | Per GPU |\n|---|---|\n| Weights | 33 GB |", "weights_per_gpu"),
        ("- Weights: 33 GB in total", "weights_total"),
        ("- Weights: 33 GB, 17.2 GB per GPU", "weights_total"),
        ("- Weights: 33 GB across all 2 GPUs", "weights_total"),
        ("- KV cache: 20 GB on each device", "kv_per_gpu"),
        ("- KV cache: 160 KB per token", "kv_per_token"),
        ("- Throughput: 1200 tok/s per GPU", "throughput_per_gpu"),
        ("- Throughput: 1200 tokens per second per GPU", "throughput_per_gpu"),
        ("- Memory used: 70 GB (of 80 GB per GPU)", "memory_per_gpu"),
        ("- Memory per GPU: 70 GB in total", "memory_per_gpu"),
        ("- Heads: 32 per GPU", "heads_per_gpu"),
        ("- GPUs: 8 per node", "gpus_per_node"),
    ],
)
def test_a_scope_binds_the_number(line: str, field: str) -> None:
    document = parse_document(f"# Plan\n\n- TP: 2\n\n{line}\n", name="plan", suffix=".md")
    assert [s.field for s in document.statements if s.line > 3] == [field]


@pytest.mark.parametrize(
    "line",
    [
        "- KV cache: 160 KB per token per GPU",
        "- KV per token: 80 KB per GPU",
        "- KV cache: 20 GB per replica",
        "- Activations: 300 GB across all GPUs",
        "- Batch size: 16 per replica",
        "- Throughput: 1200 tokens/s per replica",
    ],
)
def test_a_scope_that_no_field_has_is_not_read(line: str) -> None:
    with pytest.raises(InputError, match="no statement"):
        parse_document(line, name="plan", suffix=".md")
    document = parse_document(f"- TP: 2\n{line}\n", name="plan", suffix=".md")
    assert "scope" in next(item.reason for item in document.unread if item.text == line)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("- Weights: 33 GB per GPU", True),
        ("- Weights: 17.2 GB per GPU", False),
        ("- Weights: 17.2 GB", False),
        ("- Weights: 33 GB", False),
        ("- Weights: 17.2 GB in total", True),
        ("- Total weights: 17.2 GB", True),
        ("- Weights: 33 GB in total", False),
    ],
)
def test_the_number_is_judged_in_its_scope(line: str, wrong: bool) -> None:
    claims = [claim for claim in audited(line).claims if claim.statement.field.startswith("weights_")]
    assert claims[0].wrong is wrong
