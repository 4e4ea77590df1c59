"""Deployment forms: layout, model and degrees are read, every planted error is found, nothing is alarmed falsely."""

from __future__ import annotations

import pytest

from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.documents.reader import parse_plans
from tests.oracles.planted_forms import Form, clean_forms, planted_forms

CLEAN = clean_forms()
PLANTED = planted_forms()


def audits(form: Form) -> list[Audit]:
    plans = parse_plans(form.text, name=form.name + form.suffix, suffix=form.suffix)
    return [audit_document(plan) for plan in plans]


def wrong(form: Form) -> list[tuple[str, str, str]]:
    return [(c.statement.field, c.statement.text, c.formula) for audit in audits(form) for c in audit.wrong]


def test_there_are_a_hundred_planted_errors() -> None:
    assert len(CLEAN) >= 30
    assert len(PLANTED) >= 100
    assert len({form.error for form in PLANTED}) == 5


@pytest.mark.parametrize("form", CLEAN, ids=lambda form: form.name)
def test_a_form_that_starts_is_read_and_not_alarmed(form: Form) -> None:
    assert wrong(form) == []
    for audit in audits(form):
        facts, spec = audit.context.facts, form.spec
        assert facts.model is not None
        assert facts.document.engine in ("vllm", "sglang", "trtllm")
        reading = audit.context.readings[0]
        assert (facts.stated("tp"), reading.pp) == (spec.tp, spec.pp)
        assert reading.gpus // (facts.replicas or 1) == spec.tp * spec.pp * spec.dp
        assert reading.option.moe_ep == (spec.tp if spec.expert else 1)
        assert facts.stated("max_model_len") == spec.context


@pytest.mark.parametrize("form", PLANTED, ids=lambda form: form.name)
def test_the_planted_error_is_found(form: Form) -> None:
    found = wrong(form)
    assert {field for field, _, _ in found} & set(form.fields), (found, form.text)
