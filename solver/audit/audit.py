"""The audit: every statement judged, the plan held against the constraint checks, what is missing completed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.audit.claim import Claim, not_checkable
from shardproof.solver.audit.completed import Completions
from shardproof.solver.audit.context import Candidate, Context
from shardproof.solver.audit.facts import Facts
from shardproof.solver.audit.instance_of import assumptions
from shardproof.solver.audit.judges import flags, given, guesses, memory, other, shares, stages, starts, structure, time
from shardproof.solver.audit.verdict import outcome_of, verdict_of
from shardproof.solver.documents.statement import Document, Statement
from shardproof.solver.evaluation.figures import Check, Violation

JUDGES = {
    **given.JUDGES,
    **structure.JUDGES,
    **stages.JUDGES,
    **shares.JUDGES,
    **memory.JUDGES,
    **time.JUDGES,
    **other.JUDGES,
    **starts.JUDGES,
    **guesses.JUDGES,
    **flags.JUDGES,
}


@dataclass(frozen=True)
class Audit:
    """What the audit of a document found."""

    document: Document
    context: Context
    claims: tuple[Claim, ...]
    violations: tuple[Violation, ...]
    checks: tuple[Check, ...]
    completion: Completions | None = None
    joined: Plan | None = None
    """The plan of several launches that violations and checks are of, where pools stand in launches of their own."""

    @property
    def wrong(self) -> tuple[Claim, ...]:
        """Claims that do not hold."""
        return tuple(claim for claim in self.claims if claim.wrong)

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, 4 where the plan fails."""
        return 4 if self.wrong or self.violations else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``audit --json`` prints."""
        instance = self.context.instance
        best = self.context.best
        return {
            "document": self.document.name,
            "kind": self.document.kind,
            "outcome": outcome_of(self),
            "verdict": verdict_of(self),
            "claims": [claim.to_json() for claim in self.claims],
            "violations": [vars(violation) | {} for violation in self.violations],
            "checks": [vars(check) | {"slack": check.slack, "holds": check.slack >= 0} for check in self.checks],
            "unread": [{"line": item.line, "text": item.text, "reason": item.reason} for item in self.document.unread],
            "read": read_lines(self.document),
            "completion": None if self.completion is None else self.completion.to_json(),
            "reading": None if best is None else best.reading.name,
            "copies": None if best is None else best.copies,
            "assumptions": list(
                assumptions(self.context.facts)
                if self.context.facts.instance is None
                else instance.assumptions
                if instance
                else ()
            ),
            "instance_fingerprint": None if instance is None else instance.fingerprint,
        }


def read_lines(document: Document) -> list[dict[str, Any]]:
    """What each line was read as, in order of lines."""
    rows = [(s.line, s.text, said(s)) for s in document.statements]
    rows += [(item.line, item.text, item.said) for item in document.lines]
    return [{"line": line, "text": text, "as": what} for line, text, what in dict.fromkeys(sorted(rows))]


def said(statement: Statement) -> str:
    """A statement as field and value."""
    value = statement.value
    shown: object = value
    if isinstance(value, Fraction):
        scaled = value / statement.scale
        shown = int(scaled) if scaled.denominator == 1 else f"{float(scaled):.6g}"
    elif isinstance(value, bool):
        shown = "yes" if value else "no"
    elif isinstance(value, tuple):
        shown = ", ".join(map(str, value[:16])) + (", ..." if len(value) > 16 else "")
    about = f" of {statement.subject.partition('|')[0]}" if statement.subject and statement.field != "sum" else ""
    return f"{statement.field}{about} = {shown} {statement.unit}".strip()


def audit_document(document: Document, instance: Instance | None = None) -> Audit:
    """Judge every statement of a document and hold its plan against the constraint checks."""
    context = Context(Facts.gather(document, instance))
    claims = _distinct(judge(context, statement) for statement in document.statements)
    claims += _implied(context, claims)
    best = context.best
    return Audit(document, context, claims, _violations(context, best), _checks(context, best))


def _implied(context: Context, claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    """Judge what the document implies; what a claim of its own says wrong already is not said twice."""
    wrong = {claim.statement.field for claim in claims if claim.wrong}
    found = [judge(context, statement) for statement in starts.implied(context)]
    if wrong & {"tp", "dp", "ep", "moe_tp", "pp"}:
        found = [claim for claim in found if not claim.wrong]
    if wrong & {"max_model_len"}:
        found = [claim for claim in found if claim.statement.field != "context_fits"]
    weights = any(claim.wrong and claim.statement.field == "weights_fit" for claim in found)
    return tuple(c for c in found if not (weights and c.statement.field == "context_fits"))


def _distinct(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Drop claims that say the same about the same line: a sentence may state one thing twice."""
    seen: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        statement = claim.statement
        seen.setdefault((statement.line, statement.text, claim.verdict, claim.formula), claim)
    return tuple(seen.values())


def judge(context: Context, statement: Statement) -> Claim:
    """Judge one statement."""
    found = JUDGES.get(statement.field)
    if found is None:
        return not_checkable(statement, "nothing here judges it")
    if statement.subject.startswith("stage") and statement.field in ("tp", "dp", "ep", "moe_tp", "extra_slots"):
        return stages.judge_stage_degree(context, statement)
    if statement.subject.startswith("row ") or (statement.subject and statement.field not in _BY_SUBJECT):
        return not_checkable(statement, f"belongs to '{statement.subject}' of a table")
    try:
        return found(context, statement)
    except ArithmeticError:
        return not_checkable(statement, "a number that it depends on is zero or beyond any range")


_BY_SUBJECT = frozenset({"stage_layers", "stage_layer_count", "stage_gpus", "stage_gpu_count", "expert_ids", "sum",
                         "placement_row", "memory_per_stage_gpu", "memory_per_stage", "memory_per_gpu"})  # fmt: skip


def _violations(context: Context, best: Candidate | None) -> tuple[Violation, ...]:
    found = list(_structural(context))
    groups = {(violation.group, violation.index) for violation in found}
    if best is not None:
        found += [v for v in best.evaluation.violations if (v.group, v.index) not in groups]
    return tuple(found)


def _structural(context: Context) -> list[Violation]:
    """Violations that stand before any reading: layers that do not add up, GPUs that no degree uses."""
    facts = context.facts
    found = []
    stated = context.document.number("layers_per_stage")
    if facts.layers and facts.pp and stated is not None and not facts.stages:
        claims = [judge(context, s) for s in context.document.of("layers_per_stage")]
        if claims and claims[0].verdict == "contradicted":
            found.append(Violation("cover", "layers", int(stated) * facts.pp, facts.layers, "layers"))
    rows = facts.stages
    if (
        rows
        and facts.layers
        and all(row.first is not None and row.last is not None for row in rows)
        and (len(rows) == (facts.stated("pp") or len(rows)) and context.stage_ranges(len(rows)) is None)
    ):
        covered = sum((row.last or 0) - (row.first or 0) + 1 for row in rows)
        found.append(Violation("cover", "layers", covered, facts.layers, "layers"))
    gpus = context.document.first("gpus")
    if facts.gpus and gpus is not None:
        claim = judge(context, gpus)
        if claim.verdict == "inconsistent" and isinstance(claim.recomputed, Fraction):
            found.append(Violation("gpus", "plan", facts.gpus, int(claim.recomputed), "GPUs"))
    return found


def _checks(context: Context, best: Candidate | None) -> tuple[Check, ...]:
    """Rows that the plan was held against; a GPU budget only where the instance states one."""
    if best is None:
        return ()
    budget = context.facts.instance is not None
    return tuple(check for check in best.evaluation.checks if budget or check.group != "max_gpus")
