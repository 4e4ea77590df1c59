"""Reviews: the audits of all plans of a source, put together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.audit.claim import Claim
from shardproof.solver.audit.grouped import common, group_documents, reviewed_fleet
from shardproof.solver.audit.joined import joined
from shardproof.solver.audit.verdict import outcome_of, verdict_of, worst_of
from shardproof.solver.documents.sources import Source, read_source
from shardproof.solver.documents.statement import Document, Unread
from shardproof.solver.evaluation.figures import Violation
from shardproof.solver.evaluation.groups import questions


@dataclass(frozen=True)
class Review:
    """What was found in a source: one audit for each plan, with the file that it stands in."""

    source: Source
    audits: tuple[Audit, ...]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Claims of all plans."""
        return tuple(claim for audit in self.audits for claim in audit.claims)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Broken constraints of all plans."""
        return tuple(violation for audit in self.audits for violation in audit.violations)

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, 4 where any plan fails."""
        return max(audit.exit_code for audit in self.audits)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``audit --json`` prints.

        The lists are those of all plans together; with several plans, each row names its ``plan`` (and ``file``),
        and the single figures are those of the first.
        """
        trees = [audit.to_json() for audit in self.audits]
        tree = dict(trees[0])
        names = [
            _names(file, audit, self.source) for (file, _), audit in zip(self.source.plans, self.audits, strict=True)
        ]
        if len(trees) > 1:
            tree["document"] = self.source.name
            tree["outcome"], tree["verdict"] = worst_of(self.audits)
            for part in ("claims", "violations", "checks", "unread", "read"):
                tree[part] = [row | name for one, name in zip(trees, names, strict=True) for row in one[part]]
        tree["plans"] = [_summary(audit) | name for audit, name in zip(self.audits, names, strict=True)]
        if self.source.skipped:
            tree["skipped"] = [{"file": item.text, "reason": item.reason} for item in self.source.skipped]
        return tree


def _names(file: str, audit: Audit, source: Source) -> dict[str, str]:
    own = {"plan": audit.document.plan or audit.document.name}
    return own | ({"file": file} if source.is_folder else {})


def _summary(audit: Audit) -> dict[str, Any]:
    """One plan in a row."""
    document, context = audit.document, audit.context
    reading = context.readings[0] if context.readings else None
    return {
        "form": document.form or document.kind,
        "line": document.start[0] if document.start is not None else None,
        "engine": document.engine or None,
        "model": context.facts.model.name if context.facts.model is not None else None,
        "devices": [device.name for device in context.facts.devices],
        "gpus": reading.gpus if reading is not None else None,
        "wrong": len(audit.wrong),
        "violations": len(audit.violations),
        "completion": None if audit.completion is None else audit.completion.to_json(),
        "outcome": outcome_of(audit),
        "verdict": verdict_of(audit),
        "exit_code": audit.exit_code,
    }


def review(source: str | Path, instance: Instance | None = None) -> Review:
    """Audit every plan of a file, a folder, or a command line."""
    read = _without_names_alone(read_source(source))
    if instance is not None and read.is_folder:
        found = reviewed_fleet(Path(source), read, instance)
        if found is not None:
            return Review(*found)
    audits = [(file, audit_document(plan, instance)) for file, plan in read.plans]
    return Review(read, joined(audits, instance))


NAMES = frozenset({"model", "engine", "device", "nodes", "gpus_per_node", "precision", "kv_precision"})
"""Fields that say what is served on what, and nothing of how."""


def _without_names_alone(read: Source) -> Source:
    """Put aside what only names model and hardware of the plans in the files beside it: a README, a list of hosts."""
    alone = [
        place
        for place, (_, plan) in enumerate(read.plans)
        if plan.start is None and {statement.field for statement in plan.statements} <= NAMES
    ]
    if not read.is_folder or not 0 < len(alone) < len(read.plans):
        return read
    said = "names what the files beside it start, states no degrees"
    skipped = tuple(Unread(0, read.plans[place][0], said) for place in alone)
    kept = tuple(plan for place, plan in enumerate(read.plans) if place not in alone)
    return replace(read, plans=kept, skipped=(*read.skipped, *skipped))


def review_of(document: Document, instance: Instance | None = None) -> Review:
    """Audit one plan that was read already."""
    return Review(Source(document.name, ((document.name, document),)), (audit_document(document, instance),))


def fleet_review(plan: Plan, instance: Instance | None, name: str) -> Review:
    """Audit every group of a mixed fleet as a plan of its own, asked for the requests that it takes.

    What binds the groups together (requests that nobody takes, GPUs of all) is a violation of the first. Without an
    instance each group is judged by what it says itself.
    """
    documents = [(name, document) for document in group_documents(plan, name)]
    parts = questions(instance, plan) if instance is not None else [(None, plan.part(one)) for one in plan.parts]
    pairs = zip(documents, parts, strict=True)
    audits = [audit_document(document, asked) for (_, document), (asked, _) in pairs]
    if instance is not None:
        audits[0] = replace(audits[0], violations=(*audits[0].violations, *common(instance, plan)))
    return Review(Source(name, tuple(documents)), tuple(audits))


def completed(found: Review, *, time_limit_s: float | None) -> Review:
    """Search the completion of every plan."""
    from shardproof.solver.audit.completion import complete

    audits = []
    for audit in found.audits:
        claims, completion = complete(audit.context, audit.claims, time_limit_s=time_limit_s)
        audits.append(replace(audit, claims=claims, completion=completion))
    return replace(found, audits=tuple(audits))
