"""Replicas against the GPUs that are there, floors by a replica, what is missing, files that are no plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproof.instances.errors import InputError
from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.audit.claim import Claim, idle
from shardproof.solver.audit.verdict import outcome_of, verdict_of
from shardproof.solver.documents.reader import parse_document
from tests.oracles.places import ROOT

PLAN = """# Plan

- GPU: {gpus} x H100 SXM
- Model: Qwen3-32B FP8
- TP: {tp}
- Replicas: {replicas}
- Batch: {batch}
- Input tokens: 4096
- Output tokens: 500
{more}
"""


def audited(gpus: int = 8, tp: int = 2, replicas: int = 4, batch: int = 64, more: str = "") -> Audit:
    text = PLAN.format(gpus=gpus, tp=tp, replicas=replicas, batch=batch, more=more)
    return audit_document(parse_document(text, name="plan", suffix=".md"))


def claim_of(audit: Audit, field: str) -> Claim:
    return next(claim for claim in audit.claims if claim.statement.field == field)


@pytest.mark.parametrize(
    ("gpus", "tp", "replicas", "verdict", "idle"),
    [(8, 2, 4, "confirmed", 0), (8, 2, 5, "contradicted", 0), (8, 2, 3, "confirmed", 2), (7, 4, 2, "contradicted", 0)],
)
def test_replicas_times_degrees_are_held_against_the_gpus(
    gpus: int, tp: int, replicas: int, verdict: str, idle: int
) -> None:
    found = audited(gpus, tp, replicas)
    assert claim_of(found, "gpus_listed").verdict == verdict
    assert (f"; {idle} of {gpus} GPUs do no work" in verdict_of(found)) == bool(idle)


@pytest.mark.parametrize("line", ["- GPUs available: 8", "- GPU budget: 8", "- Nodes: 1\n- GPUs per node: 8"])
def test_a_budget_or_nodes_hold_all_replicas(line: str) -> None:
    assert any(c.wrong and "10" in c.formula for c in audited(16, 2, 5, more=line).claims)
    assert not any(c.wrong for c in audited(16, 2, 4, more=line).claims)


@pytest.mark.parametrize(("tpot", "wrong"), [("2 ms", True), ("4.5 ms", True), ("9.2 ms", False)])
def test_a_tpot_is_held_against_the_gpus_of_one_replica(tpot: str, wrong: bool) -> None:
    assert claim_of(audited(more=f"- TPOT: {tpot}"), "tpot").wrong is wrong


def test_a_ttft_is_held_against_the_gpus_of_the_replica_that_serves_it() -> None:
    """One request on four replicas: three do nothing for it."""
    more = "- MFU: 50%\n- TTFT: {}"
    assert claim_of(audited(batch=1, more=more.format("40 ms")), "ttft").wrong
    assert not claim_of(audited(batch=1, more=more.format("140 ms")), "ttft").wrong
    assert not claim_of(audited(batch=4, more=more.format("140 ms")), "ttft").wrong


def test_what_a_ttft_lacks_is_named() -> None:
    formula = claim_of(audited(more="- TTFT: 1 s"), "ttft").formula
    assert "MFU" in formula
    assert "input tokens" not in formula
    assert "peak" not in formula
    text = "# Plan\n\n- Model: Qwen3-32B\n- GPU: 8 x H100\n- TP: 2\n- TTFT: 1 s\n"
    found = audit_document(parse_document(text, name="plan", suffix=".md"))
    formula = claim_of(found, "ttft").formula
    assert "requests at once" in formula
    assert "input tokens" in formula
    assert "h100-pcie" in formula
    assert "model" not in formula


@pytest.mark.parametrize(
    ("path", "kind"), [("docs/images/solve.svg", "SVG"), ("instances/cases/qwen3-235b-a22b.yaml", "question")]
)
def test_a_file_that_is_no_plan_is_refused_by_its_kind(path: str, kind: str) -> None:
    text, suffix = (ROOT / path).read_text(encoding="utf-8"), Path(path).suffix
    with pytest.raises(InputError, match=kind):
        parse_document(text, name=path, suffix=suffix)


@pytest.mark.parametrize("text", ["<!DOCTYPE html>\n<p>TP 8, 8 GPUs</p>", '<?xml version="1.0"?>\n<a>TP 8</a>'])
def test_markup_is_no_plan(text: str) -> None:
    with pytest.raises(InputError, match="holds no plan"):
        parse_document(text, name="page", suffix=".md")


def test_a_plan_with_the_keys_of_a_question_is_read() -> None:
    text = "model: Qwen3-32B\ndevice: H100 SXM\nworkload: {batch_size: 4}\nreplicas: 2\ntp: 2\ngpus: 4\n"
    assert outcome_of(audit_document(parse_document(text, name="plan", suffix=".yaml"))) == "nothing wrong"


def test_where_nothing_is_confirmed_nothing_is_called_right() -> None:
    found = audit_document(parse_document("# Shop\n\n- Batch: 12\n- Price: $3\n", name="shop", suffix=".md"))
    assert outcome_of(found) == "undecided"
    assert "describes no deployment" in verdict_of(found)
    found = audit_document(parse_document("# Plan\n\n- TP: 4\n- Batch: 12\n", name="plan", suffix=".md"))
    assert "a model of the catalogue" in verdict_of(found)
    assert "degrees" not in verdict_of(found)


@pytest.mark.parametrize(("count", "words"), [(1, "1 of them does no work"), (3, "3 of them do no work")])
def test_gpus_without_work_are_counted_in_words(count: int, words: str) -> None:
    assert idle(count) == words
