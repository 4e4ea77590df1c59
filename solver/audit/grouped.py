"""A mixed fleet in a folder: plans of its groups and the launches of each are asked for their own share of the load.

The shares stand in the plans, in a file for each group or in one for all; a launch belongs to the group whose stages it
starts. Alone no group answers a question about all requests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan
from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.audit.own_plan import own_plan
from shardproof.solver.documents.reader import parse_document
from shardproof.solver.documents.sources import Source
from shardproof.solver.documents.statement import Document
from shardproof.solver.evaluation.figures import Violation
from shardproof.solver.evaluation.groups import questions
from shardproof.solver.open_loop.evaluated import evaluate_any

_COMMON = ("load", "max_gpus")
"""Groups of rows that bind all replicas together."""

Parts = Sequence[tuple[Instance, Plan]]


def common(instance: Instance, plan: Plan) -> tuple[Violation, ...]:
    """Return the broken rows that bind all replicas of a fleet together."""
    found = evaluate_any(instance, plan).violations
    return tuple(item for item in found if item.group.partition("[")[0] in _COMMON or item.index == "service")


def group_documents(plan: Plan, name: str) -> tuple[Document, ...]:
    """Return each group of a fleet's plan as a document of its own."""
    found = []
    for place, group in enumerate(plan.parts):
        text = json.dumps(plan.part(group).model_dump(mode="json", exclude_none=True, exclude={"shares"}), indent=1)
        found.append(parse_document(text, name=f"{name}, group {place}", suffix=".json"))
    return tuple(found)


def reviewed_fleet(folder: Path, read: Source, instance: Instance) -> tuple[Source, tuple[Audit, ...]] | None:
    """Audit a folder that holds the plan of a mixed fleet, whole or group by group (``None``: it holds none)."""
    own = [own_plan(folder / file) if document.start is None else None for file, document in read.plans]
    plan = _fleet(own)
    if plan is None or plan.is_apart:
        return None
    parts = questions(instance, plan)
    documents, audits = list[tuple[str, Document]](), list[Audit]()
    for (file, document), found in zip(read.plans, own, strict=True):
        if found is not None and found.groups:
            pairs = list(zip(group_documents(found, document.name), questions(instance, found), strict=True))
            documents += [(file, text) for text, _ in pairs]
            audits += [audit_document(text, asked) for text, (asked, _) in pairs]
            continue
        documents.append((file, document))
        asked = None if found is None else _asked(parts, found)
        audits.append(
            _launch(document, instance, parts) if found is None else audit_document(document, asked or instance)
        )
    audits[0] = replace(audits[0], violations=(*audits[0].violations, *common(instance, plan)))
    return replace(read, plans=tuple(documents)), tuple(audits)


def _fleet(own: Sequence[Plan | None]) -> Plan | None:
    """Return the fleet: one plan of several groups, or the plans of its groups put together."""
    plans = [plan for plan in own if plan is not None]
    whole = next((plan for plan in plans if plan.groups), None)
    parts = [plan for plan in plans if plan.shares and not plan.groups]
    if whole is not None or len(parts) < 2:
        return whole
    return Plan(
        replicas=sum(part.replicas for part in parts),
        microbatch_tokens=max(part.microbatch_tokens for part in parts),
        groups=tuple(part.parts[0] for part in parts),
        engine=parts[0].engine,
    )


def _launch(document: Document, instance: Instance, parts: Parts) -> Audit:
    """Audit a launch under the question of the group that it starts."""
    audit = audit_document(document, instance)
    group = audit.context.pooled(None) if document.start is not None else None
    asked = None if group is None else _asked(parts, group)
    return audit if asked is None else audit_document(document, asked)


def _asked(parts: Parts, group: Group) -> Instance | None:
    """Return what the group of these stages is asked (as many replicas first)."""
    alike = [
        (part.replicas != group.replicas, place) for place, (_, part) in enumerate(parts) if _cut(part) == _cut(group)
    ]
    return parts[min(alike)[1]][0] if alike else None


def _cut(group: Group) -> list[object]:
    return [(stage.layers, stage.option) for stage in group.stages]
