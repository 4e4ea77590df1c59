"""Reviews: the audits of all plans of a source, put together."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.audit.claim import Claim
from shardproof.solver.audit.joined import joined
from shardproof.solver.audit.own_plan import own_plan
from shardproof.solver.audit.verdict import outcome_of, verdict_of, worst_of
from shardproof.solver.documents.reader import parse_document
from shardproof.solver.documents.sources import Source, read_source
from shardproof.solver.documents.statement import Document, Unread
from shardproof.solver.evaluation.figures import Violation
from shardproof.solver.evaluation.groups import questions
from shardproof.solver.open_loop.evaluated import evaluate_any


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
    asked, common = _asked_of_groups(source, read, instance)
    audits = [(file, audit_document(plan, asked.get(file, instance))) for file, plan in read.plans]
    if common:
        first = next(place for place, (file, _) in enumerate(audits) if file in asked)
        file, audit = audits[first]
        audits[first] = (file, replace(audit, violations=(*audit.violations, *common)))
    return Review(read, joined(audits, instance))


def _asked_of_groups(
    source: str | Path, read: Source, instance: Instance | None
) -> tuple[dict[str, Instance | None], tuple[Violation, ...]]:
    """What the plans of a mixed fleet's groups are asked that stand in files of their own, and what binds them all.

    A group says what share of the requests it takes: alone it answers no question about all of them.
    """
    if instance is None or not read.is_folder:
        return {}, ()
    own = [(file, own_plan(Path(source) / file)) for file, plan in read.plans if plan.kind in ("json", "yaml")]
    parts = [(file, plan) for file, plan in own if plan is not None and plan.shares and not plan.groups]
    if len(parts) < 2:
        return {}, ()
    plan = Plan(
        replicas=sum(part.replicas for _, part in parts),
        microbatch_tokens=max(part.microbatch_tokens for _, part in parts),
        groups=tuple(part.parts[0] for _, part in parts),
        engine=parts[0][1].engine,
    )
    asked = [one for one, _ in questions(instance, plan)]
    return dict(zip((file for file, _ in parts), asked, strict=True)), _common(instance, plan)


def _common(instance: Instance, plan: Plan) -> tuple[Violation, ...]:
    """Broken rows that bind all replicas of a fleet together."""
    found = evaluate_any(instance, plan).violations
    return tuple(item for item in found if item.group.partition("[")[0] in _COMMON)


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
    documents, audits = [], []
    parts = questions(instance, plan) if instance is not None else [(None, plan.part(one)) for one in plan.parts]
    for place, (asked, part) in enumerate(parts):
        text = json.dumps(part.model_dump(mode="json", exclude_none=True, exclude={"shares"}), indent=1)
        document = parse_document(text, name=f"{name}, group {place}", suffix=".json")
        documents.append((name, document))
        audits.append(audit_document(document, asked))
    if instance is not None:
        whole = evaluate_any(instance, plan).violations
        common = [item for item in whole if item.group.partition("[")[0] in _COMMON or item.index == "service"]
        audits[0] = replace(audits[0], violations=(*audits[0].violations, *common))
    return Review(Source(name, tuple(documents)), tuple(audits))


_COMMON = ("load", "max_gpus")
"""Groups of rows that bind all replicas together."""


def completed(found: Review, *, time_limit_s: float | None) -> Review:
    """Search the completion of every plan."""
    from shardproof.solver.audit.completion import complete

    audits = []
    for audit in found.audits:
        claims, completion = complete(audit.context, audit.claims, time_limit_s=time_limit_s)
        audits.append(replace(audit, claims=claims, completion=completion))
    return replace(found, audits=tuple(audits))
