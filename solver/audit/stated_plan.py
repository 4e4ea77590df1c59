"""The plan that a source states, whatever its form: what `predict` and `compare` evaluate, and `audit` judges."""

from __future__ import annotations

from pathlib import Path

from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.audit.own_plan import own_plan
from shardproof.solver.documents.text import printable


def stated_plan(source: str | Path, instance: Instance) -> Plan:
    """Return the one plan of a source under an instance, its microbatch the fastest that fits.

    Raises
    ------
    InputError
        If the source states no layout, several plans, or a plan of another model.
    """
    own = own_plan(source)
    if own is not None:
        return own
    from shardproof.solver.audit.review import review

    found = review(source, instance)
    name = printable(found.source.name)
    candidates = [audit for audit in found.audits if audit.context.best is not None]
    if not candidates:
        raise InputError(
            f"{name}: states no layout that makes a plan of {instance.model.name}; `shardproof audit` says why"
        )
    if len(candidates) > 1:
        lines = ", ".join(str(a.document.start[0]) for a in candidates[:8] if a.document.start is not None)
        raise InputError(
            f"{name}: holds {len(candidates)} plans (lines {lines}); give one of them in a file of its own"
        )
    audit = candidates[0]
    for claim in audit.claims:
        if claim.statement.field == "model" and claim.wrong:
            raise InputError(f"{name}: its plan is of {claim.statement.value}, the question of {instance.model.name}")
    assert audit.context.best is not None
    return audit.context.best.plan
