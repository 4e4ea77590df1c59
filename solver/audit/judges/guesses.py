"""Judges of what a document tells of speculative decoding."""

from __future__ import annotations

from shardproof.solver.audit.claim import Claim, confirmed, contradicted, not_checkable
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.guessed import FIELDS, Told, method_of, told
from shardproof.solver.documents.statement import Statement


def judge_guesses(context: Context, statement: Statement) -> Claim:
    """What guesses tokens ahead is known, suits the model, and counts in times and memory."""
    facts = context.facts
    if facts.model is None:
        return not_checkable(statement, "the model is not known to the catalogue")
    if statement.field in _COUNTS and statement.number < 1:
        return contradicted(statement, "at least one token is guessed ahead")
    if statement.field == "acceptance" and statement.number > 1:
        return contradicted(statement, "no guess holds more often than always")
    own = None if facts.instance is None else facts.instance.speculative
    heard = Told(found=own) if own is not None else told(context.document, facts.model, None)
    found, why = heard.found, heard.why
    if found is not None and statement.field == "acceptance_length" and not 1 <= statement.number <= found.guesses + 1:
        return contradicted(statement, f"an iteration gives 1 to {found.guesses + 1} tokens")
    if found is not None:
        return confirmed(statement, f"read as {found.text}")
    if method_of(context.document, facts.model) == "mtp":
        return contradicted(statement, why)
    return not_checkable(statement, f"{why}; times and memory here are without it")


_COUNTS = frozenset({"draft_tokens", "verified_tokens", "draft_topk"})
JUDGES = dict.fromkeys(FIELDS, judge_guesses)
