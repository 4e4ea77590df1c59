"""Judges of what a document tells of speculative decoding."""

from __future__ import annotations

from shardproof.solver.audit.claim import Claim, confirmed, contradicted, not_checkable
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.guessed import FIELDS, method_of, told
from shardproof.solver.documents.statement import Statement


def judge_guesses(context: Context, statement: Statement) -> Claim:
    """What guesses tokens ahead is known, suits the model, and counts in times and memory."""
    facts = context.facts
    if facts.model is None:
        return not_checkable(statement, "the model is not known to the catalogue")
    if statement.field not in ("speculative_method", "draft_model") and statement.number < 1:
        return contradicted(statement, "at least one token is guessed ahead")
    own = None if facts.instance is None else facts.instance.speculative
    found, why = (own, "") if own is not None else told(context.document, facts.model, None)
    if found is not None:
        return confirmed(statement, f"read as {found.text}")
    if method_of(context.document, facts.model) == "mtp":
        return contradicted(statement, why)
    return not_checkable(statement, f"{why}; times and memory here are without it")


JUDGES = dict.fromkeys(FIELDS, judge_guesses)
