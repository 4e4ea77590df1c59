"""Pools whose servers stand in files of their own, put together: the plan that prefills here and decodes there.

Which phase a server takes alone, its flags say (SGLang, Dynamo, vLLM's producers and consumers), else its name or its
file's: vLLM's servers of both pools start alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from shardproof.instances.errors import ShardproofError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan, Pool
from shardproof.solver.audit.audit import Audit
from shardproof.solver.open_loop.evaluated import evaluate_any

_SAID: tuple[tuple[Pool, re.Pattern[str]], ...] = (
    ("prefill", re.compile(r"disaggregation-mode[= ]+prefill|is-prefill-worker|kv_producer")),
    ("decode", re.compile(r"disaggregation-mode[= ]+decode|is-decode-worker|kv_consumer")),
)
_NAMED: tuple[tuple[Pool, re.Pattern[str]], ...] = (
    ("prefill", re.compile(r"(?i)(?<![a-z])(?:prefill|context|ctx)(?![a-z])")),
    ("decode", re.compile(r"(?i)(?<![a-z])(?:decode|generation|gen)(?![a-z])")),
)


def phase_of(audit: Audit, file: str) -> Pool | None:
    """Return the phase that a launch serves alone (``None``: both, or not said)."""
    document = audit.document
    if document.start is None:
        return None
    for patterns, text in ((_SAID, document.start[1]), (_NAMED, document.plan or ""), (_NAMED, file)):
        found = [phase for phase, pattern in patterns if pattern.search(text)]
        if len(found) == 1:
            return found[0]
    return None


def joined(audits: Sequence[tuple[str, Audit]], instance: Instance | None) -> tuple[Audit, ...]:
    """Hold the launches of both pools against the question as one plan; its rows are those of the first launch.

    ``audits``: with the file that each stands in.
    """
    alone = tuple(audit for _, audit in audits)
    if instance is None or instance.serving == "together":
        return alone
    phases = [phase_of(audit, file) for file, audit in audits]
    places = [place for place, phase in enumerate(phases) if phase is not None]
    groups = [group for place in places if (group := _group(alone[place], phases[place])) is not None]
    if {group.pool for group in groups} != {"prefill", "decode"} or len(groups) < len(places):
        return alone
    plan = Plan(
        replicas=sum(group.replicas for group in groups),
        microbatch_tokens=max(group.microbatch_tokens for group in groups),
        groups=tuple(groups),
        engine=instance.engine,
    )
    try:
        found = evaluate_any(instance, plan)
    except (ShardproofError, ArithmeticError):
        return alone
    first = replace(alone[places[0]], violations=found.violations, checks=found.checks, joined=plan)
    held = [_held(audit, file, plan) for file, audit in audits]
    return (*held[: places[0]], first, *held[places[0] + 1 :])


def _held(audit: Audit, file: str, plan: Plan) -> Audit:
    """The plan file of one pool beside its launches: the joined plan's rows are its own, it answers none alone."""
    best = audit.context.best
    phases = [phase for phase, pattern in _NAMED if pattern.search(file)]
    if audit.document.start is not None or best is None or len(phases) != 1:
        return audit
    stages = [[(stage.layers, stage.option) for stage in group.stages] for group in plan.groups if group.pool in phases]
    own = [(stage.layers, stage.option) for stage in best.plan.stages]
    return replace(audit, violations=(), checks=()) if own in stages else audit


def _group(audit: Audit, phase: Pool | None) -> Group | None:
    return None if phase is None else audit.context.pooled(phase)
