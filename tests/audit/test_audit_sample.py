"""The verdicts on a hand-written plan: what it says, what is so, and which mistakes explain the difference."""

from __future__ import annotations

from fractions import Fraction

import pytest

from shardproof.instances.errors import InternalError
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import load_instance
from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.audit.claim import Claim
from shardproof.solver.audit.completion import complete
from shardproof.solver.documents.reader import read_document
from tests.oracles.places import ROOT

PLAN = ROOT / "instances" / "plans" / "qwen3-235b-handwritten.md"
SHARED = ROOT.parent / "shared" / "plans" / "qwen3-235b-handwritten.md"
PLANS = [PLAN, *([SHARED] if SHARED.exists() else [])]


@pytest.fixture(scope="module", params=PLANS, ids=lambda path: path.parent.name + "-" + path.parent.parent.name)
def audit(request: pytest.FixtureRequest) -> Audit:
    return audit_document(read_document(request.param))


def claims(audit: Audit, field: str) -> list[Claim]:
    found = [claim for claim in audit.claims if claim.statement.field == field]
    assert found, field
    return found


def test_layers_of_the_stages_do_not_add_up(audit: Audit) -> None:
    for claim in claims(audit, "layers_per_stage"):
        assert claim.verdict == "contradicted"
        assert "4 stages x 24 layers = 96, the model has 94" in claim.formula
        assert claim.recomputed == Fraction(94, 4)


def test_degrees_do_not_use_the_gpus(audit: Audit) -> None:
    for claim in claims(audit, "gpus"):
        assert claim.verdict == "inconsistent"
        assert "TP 1 x PP 4 x DP 1 x EP 1 = 4 devices, but 35 are allocated" in claim.formula
        assert "35 is no multiple of 4 stages" in claim.formula
        assert claim.recomputed == 4


def test_memory_of_a_stage_is_below_its_weights(audit: Audit) -> None:
    (claim,) = claims(audit, "memory_per_stage")
    assert claim.verdict == "contradicted"
    assert "weights of 24 layers 59.71 GB + KV cache 12.88 GB = 72.59 GB" in claim.formula
    assert claim.recomputed == pytest.approx(72.59e9, rel=1e-3)
    assert set(claim.explained_by) == {
        "kv-cache-omitted",
        "gate-matrix-forgotten",
        "attention-as-four-hidden-squared",
    }


def test_memory_utilisation_follows_the_same_mistakes(audit: Audit) -> None:
    (claim,) = claims(audit, "memory_utilization")
    assert claim.verdict == "contradicted"
    assert claim.recomputed == pytest.approx(1.134, abs=0.001)
    assert "kv-cache-omitted" in claim.explained_by
    assert "62.93 %" in claim.explanation


def test_ttft_is_explained_by_both_mistakes(audit: Audit) -> None:
    (claim,) = claims(audit, "ttft")
    assert claim.verdict == "contradicted"
    assert claim.explained_by == ("total-instead-of-active-parameters", "output-tokens-in-ttft")
    assert "2 * 2.35e11 * 128 * 4096 / (35 * 240e12) = 29.34 s" in claim.explanation
    assert float(claim.recomputed or 0) == pytest.approx(13.0, abs=0.3)


def test_sentences_about_parallelism_and_balance(audit: Audit) -> None:
    assert claims(audit, "tp_heads")[0].verdict == "inconsistent"
    assert "35 GPUs for 4 stages are 8.75 a stage" in claims(audit, "tp_heads")[0].formula
    assert claims(audit, "heads_per_gpu")[0].verdict == "confirmed"
    assert claims(audit, "experts_replicated")[0].verdict == "contradicted"
    assert "72.59 GB; a GPU has 64 GB" in claims(audit, "experts_replicated")[0].formula
    assert claims(audit, "equal_layers")[0].verdict == "contradicted"
    assert claims(audit, "load_balanced")[0].verdict == "contradicted"
    assert claims(audit, "meets_ttft")[0].verdict == "confirmed"
    assert claims(audit, "uniform_expert_load")[0].verdict == "not-checkable"


def test_confirmed_is_recomputed_and_what_is_only_given_is_not_checkable(audit: Audit) -> None:
    for field in ("model", "parameters", "layers", "experts", "hidden"):
        assert {claim.verdict for claim in claims(audit, field)} == {"confirmed"}, field
    for field in ("batch", "gpu_memory", "mfu", "ttft_limit"):
        assert {claim.verdict for claim in claims(audit, field)} == {"not-checkable"}, field
    assert all(claim.recomputed is not None for claim in audit.claims if claim.verdict == "confirmed")


def test_each_claim_is_counted_once(audit: Audit) -> None:
    seen = [(c.statement.line, c.statement.text, c.verdict, c.formula) for c in audit.claims]
    assert len(seen) == len(set(seen))


def test_violations_and_checks(audit: Audit) -> None:
    found = {(item.group, item.index): (item.value, item.limit) for item in audit.violations}
    assert found["cover", "layers"] == (96, 94)
    assert found["gpus", "plan"] == (35, 4)
    assert [key for key in found if key[0] == "memory[main]"] == [("memory[main]", f"stage={n}") for n in range(4)]
    ttft = next(check for check in audit.checks if check.group == "ttft[main]")
    assert ttft.slack > 0
    assert audit.exit_code == 4


@pytest.fixture(scope="module")
def instance() -> Instance:
    return load_instance(ROOT / "instances" / "cases" / "qwen3-235b-a22b.yaml")


def test_completion(instance: Instance) -> None:
    audit = audit_document(read_document(PLAN), instance)
    judged, completion = complete(audit.context, audit.claims, time_limit_s=None)
    assert completion is not None
    assert completion.stated.status == "infeasible"
    relaxed = {found.fixed: found for found in completion.relaxed}
    assert relaxed["degrees and stages fixed, GPU count given up"].status == "infeasible"
    assert relaxed["stages and GPU budget fixed, degrees given up"].gpus == 5
    assert len(relaxed["stages and GPU budget fixed, degrees given up"].plan.stages) == 4
    assert relaxed["nothing fixed (the optimum)"].gpus == 5
    minimal = next(claim for claim in judged if claim.statement.field == "minimal_gpus")
    assert minimal.verdict == "contradicted"
    assert minimal.recomputed == 5


def test_json_keys(instance: Instance) -> None:
    tree = audit_document(read_document(PLAN), instance).to_json()
    assert {"claims", "violations", "unread", "completion"} <= set(tree)
    assert {"line", "text", "verdict", "stated", "recomputed", "unit", "formula", "explained_by"} <= set(
        tree["claims"][0]
    )
    assert {"group", "index", "value", "limit", "unit"} <= set(tree["violations"][0])
    assert {"line", "text"} <= set(tree["unread"][0])


def test_a_fault_of_ours_is_no_verdict(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers that contradict each other end the audit; they do not leave it undecided."""

    def breaks(*_: object, **__: object) -> None:
        raise InternalError("two answers")

    monkeypatch.setattr("shardproof.solver.search.lexicographic.LexicographicSearch.run", breaks)
    audit = audit_document(read_document(PLAN), instance)
    with pytest.raises(InternalError, match="two answers"):
        complete(audit.context, audit.claims, time_limit_s=None)
