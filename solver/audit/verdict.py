"""The verdict: what an audit found, in one line that stands before everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from shardproof.instances.units import format_bytes, format_duration
from shardproof.solver.audit.claim import Claim
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.judges.starts import idle_gpus
from shardproof.solver.documents.leftovers import REASON
from shardproof.solver.documents.quantities import quantities
from shardproof.solver.documents.text import printable
from shardproof.solver.evaluation.figures import Check, Violation
from shardproof.solver.writers.layout import counted

Outcome = Literal["wrong", "undecided", "nothing wrong"]
MOST = 160
UNREAD = "no rule reads it"
"""Why a line was not read of which no rule knows anything."""


class Judged(Protocol):
    """What an audit found, as far as the verdict looks at it."""

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Claims, judged."""

    @property
    def wrong(self) -> tuple[Claim, ...]:
        """Claims that do not hold."""

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Broken constraints."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """Constraints that were held against the plan."""

    @property
    def context(self) -> Context:
        """What the judges looked at."""


def outcome_of(audit: Judged) -> Outcome:
    """Return whether anything is wrong, or too much stands elsewhere for a judgement."""
    if audit.wrong or audit.violations:
        return "wrong"
    held = bool(audit.checks) or any(claim.verdict == "confirmed" for claim in audit.claims)
    return "undecided" if audit.context.is_elsewhere or not held else "nothing wrong"


def verdict_of(audit: Judged) -> str:
    """Return the sentence: the worst finding, or what was held against what."""
    outcome = outcome_of(audit)
    confirmed = sum(claim.verdict == "confirmed" for claim in audit.claims)
    if outcome == "wrong":
        return f"WRONG: {_worst(audit)}{_more(audit)}"
    if audit.context.is_elsewhere:
        return f"UNDECIDED: {audit.context.elsewhere}; nothing else is wrong"
    if outcome == "undecided":
        return f"UNDECIDED: none of {counted(len(audit.claims), 'claim')} is confirmed; {_to_give(audit.context)}"
    held = f", {counted(len(audit.checks), 'constraint')} kept" if audit.checks else ""
    idle = idle_gpus(audit.context)
    rest = f"; {idle[0]} of {idle[1]} GPUs do no work" if idle is not None else ""
    best = audit.context.best
    copies = "" if best is None or best.copies is None else f", and it takes {best.reading.replicas} copies"
    rest += _strange(audit) + _unread(audit)
    return f"NOTHING WRONG: {confirmed} of {counted(len(audit.claims), 'claim')} confirmed{held}{copies}{rest}"


def _unread(audit: Judged) -> str:
    """Figures of a text that no rule reads: they are listed, and nothing is said of them."""
    missed = [item for item in audit.context.document.unread if item.reason in (REASON, UNREAD)]
    figures = {(item.line, one.start, item.text) for item in missed for one in quantities(item.text)}
    lines = sorted({line for line, _, _ in figures})
    if not figures:
        return ""
    shown = ", ".join(map(str, lines[:6])) + (" ..." if len(lines) > 6 else "")
    where = f"line{'s' if len(lines) > 1 else ''} {shown}"
    return f"; {counted(len(figures), 'figure')} of {where} {'is' if len(figures) == 1 else 'are'} not read"


def _strange(audit: Judged) -> str:
    """Flags that the engine may not know, by name."""
    names = [str(claim.statement.value) for claim in audit.claims if claim.statement.field == "unknown_flag"]
    return f"; {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}: no known flag of the engine" if names else ""


def _to_give(context: Context) -> str:
    """What is missing before anything can be confirmed, and what to give."""
    facts = context.facts
    parts = [
        ("a model of the catalogue", facts.model is None),
        ("a device of the catalogue", not facts.devices),
        ("degrees (TP, PP, DP, EP)", not any(facts.stated(name) for name in ("tp", "pp", "dp", "ep", "moe_tp"))),
    ]
    missing = [name for name, is_missing in parts if is_missing and not (facts.stages and "TP" in name)]
    if len(missing) == len(parts):
        kind = _KINDS.get(context.document.kind, "text")
        return (
            f"the file reads as {kind} that describes no deployment; give a plan (Markdown, YAML or JSON that names"
            " model, GPUs and degrees), a deployment manifest, or the engine's command"
        )
    if not missing:
        return "state figures that follow from the plan (GPUs, weights or KV cache per GPU, TTFT, TPOT)"
    return f"state {', '.join(missing)}, or give the question with --instance"


_KINDS = {"markdown": "a text", "yaml": "YAML", "json": "JSON", "command": "commands"}


def _worst(audit: Judged) -> str:
    if audit.wrong:
        claim = audit.wrong[0]
        return f"line {claim.statement.line}: {printable(claim.formula, limit=MOST)}"
    return _broken(audit.violations[0])


def _broken(broken: Violation) -> str:
    if broken.unit == "bytes":
        value, limit = format_bytes(broken.value), format_bytes(broken.limit)
    elif broken.unit == "ns":
        value, limit = format_duration(broken.value), format_duration(broken.limit)
    else:
        value, limit = f"{broken.value:,}", f"{broken.limit:,} {broken.unit}"
    return f"{broken.group}[{broken.index}] is {value} against {limit}"


def _more(audit: Judged) -> str:
    rest = len(audit.wrong) + len(audit.violations) - 1
    return f"; and {rest} more" if rest else ""


def worst_of(audits: Sequence[Judged]) -> tuple[Outcome, str]:
    """Return outcome and sentence of several plans: those of the first wrong one, else of the first undecided one."""
    order: tuple[Outcome, ...] = ("wrong", "undecided", "nothing wrong")
    outcomes = [outcome_of(audit) for audit in audits]
    worst = min(outcomes, key=order.index)
    alike = outcomes.count(worst)
    sentence = verdict_of(audits[outcomes.index(worst)])
    return worst, f"{sentence} ({alike} of {len(audits)} plans)" if len(audits) > 1 else sentence
