"""Sixty documents: every planted error is found, nothing is alarmed falsely; the mistakes behind them are named."""

from __future__ import annotations

import json
import os

import pytest

from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.documents.reader import parse_document, read_document
from tests.oracles.places import DATA
from tests.oracles.planted_documents import Document, all_documents, chosen_documents

FOLDER = DATA / "documents"
EXPECTED: dict[str, list[str]] = json.loads((FOLDER / "expected.json").read_text())
FULL = os.environ.get("SHARDPROOF_FULL") == "1"
MADE = all_documents() if FULL else chosen_documents()

NAMED = {
    "weights-two-bytes": {"two-bytes-per-weight", "one-byte-per-weight"},
    "kv-all-heads": {"all-heads-instead-of-kv-heads"},
    "kv-keys-only": {"keys-without-values", "one-byte-per-kv-element"},
    "kv-gib": {"gb-for-gib"},
    "kv-prompt-only": {"output-tokens-not-in-kv-cache"},
    "ttft-total-parameters": {"total-instead-of-active-parameters"},
    "ttft-output-tokens": {"output-tokens-in-ttft"},
    "ttft-one-request": {"one-request-instead-of-the-batch"},
    "ttft-mfu-ignored": {"mfu-ignored", "tflops-with-sparsity", "one-flop-per-parameter"},
    "sparsity": {"tflops-with-sparsity"},
    "tokens-total": {"output-tokens-in-ttft"},
}


def audit(document: Document) -> Audit:
    return audit_document(parse_document(document.text, name=document.name, suffix=document.suffix))


def test_there_are_sixty_documents() -> None:
    chosen = chosen_documents()
    clean = [document for document in chosen if not document.error]
    written_clean = [name for name, errors in EXPECTED.items() if not errors]
    assert len(chosen) + len(EXPECTED) == 60
    assert len(clean) + len(written_clean) == 20
    assert len({document.error for document in chosen if document.error}) >= 20
    assert set(EXPECTED) == {path.name for path in FOLDER.iterdir()} - {"expected.json"}


@pytest.mark.parametrize("document", [d for d in MADE if d.error], ids=lambda document: document.name)
def test_planted_error_is_found(document: Document) -> None:
    wrong = audit(document).wrong
    hits = [claim for claim in wrong if document.planted in claim.statement.text]
    assert hits, [claim.statement.text for claim in wrong]
    if document.error in NAMED:
        assert any(set(claim.explained_by) & NAMED[document.error] for claim in hits), hits[0].explained_by


@pytest.mark.parametrize("document", [d for d in MADE if not d.error], ids=lambda document: document.name)
def test_no_false_alarm(document: Document) -> None:
    found = audit(document)
    assert [claim.statement.text for claim in found.wrong] == []
    assert found.violations == ()
    assert found.exit_code == 0
    unread = [item.text for item in found.document.unread if "title" not in item.text]
    assert unread == []


@pytest.mark.parametrize("name", EXPECTED)
def test_written_document(name: str) -> None:
    found = audit_document(read_document(FOLDER / name))
    assert {claim.statement.field for claim in found.wrong} == set(EXPECTED[name])
    if not EXPECTED[name]:
        assert found.violations == ()
