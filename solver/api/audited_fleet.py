"""`audit` of a fleet: every figure that its file says, and what it breaks, against a question about pools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.audit.claim import Claim
    from shardproof.solver.audit.fleet import FleetAudit
    from shardproof.solver.pools.held import Broken


@dataclass(frozen=True, repr=False, eq=False)
class AuditedFleet(Answered):
    """Every figure of a fleet's file, judged; what the fleet breaks; and the best fleet, where it was sought."""

    audit: FleetAudit

    @property
    def instance(self) -> PoolsQuestion:
        """The question that the fleet is held against."""
        return self.audit.question

    @property
    def plan(self) -> FleetPlan:
        """The fleet."""
        return self.audit.plan

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All claims with their verdicts."""
        return self.audit.claims

    @property
    def wrong(self) -> tuple[Claim, ...]:
        """Claims that do not hold."""
        return self.audit.wrong

    @property
    def violations(self) -> tuple[Broken, ...]:
        """What the fleet breaks."""
        return self.audit.violations

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, 4 where a claim or a constraint fails."""
        return self.audit.exit_code

    @property
    def verdict(self) -> str:
        """The worst finding, or what was held against what."""
        found = [*(one.text for one in self.violations), *map(_in_words, self.wrong)]
        if found:
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            return f"WRONG: {found[0]}{more}"
        held = sum(claim.verdict == "confirmed" for claim in self.claims)
        return f"NOTHING WRONG: {held} of {len(self.claims)} claims confirmed, the fleet keeps every limit"

    def text(self, *, colour: bool = False, every: bool = False) -> str:
        """Return the audit laid out for a terminal; ``every``: also the claims that hold."""
        from shardproof.solver.writers.layout import outline, terminal_width

        del colour
        return outline("\n".join(self._lines(every)), width=terminal_width())

    def _lines(self, every: bool) -> Iterator[str]:
        from shardproof.solver.pools.held import in_words

        best = self.audit.best
        value = None if best is None else best.shown(best.value)
        yield self.verdict
        yield from in_words(self.instance, self.audit.found, value)
        for claim in self.claims:
            if every or claim.wrong:
                line = f"line {claim.statement.line}: " if claim.statement.line else ""
                yield f"  {claim.verdict}: {line}{_in_words(claim)}"
        if best is not None and value is not None:
            yield f"the best: {value:.10g} {_unit(self.instance)} ({best.status}, {best.proof})"

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``audit --json`` prints."""
        best, found = self.audit.best, self.audit.found
        completion = None
        if best is not None:
            shown = {"value": best.shown(best.value), "bound": best.shown(best.bound)}
            completion = {"status": best.status, "proof": best.proof} | shown | {"unit": _unit(self.instance)}
        return {
            "document": self.audit.name,
            "form": "fleet",
            "outcome": "wrong" if self.exit_code else "nothing wrong",
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "objective": self.instance.objective,
            "value": found.value,
            "unit": _unit(self.instance),
            "gpus": found.metrics.gpus,
            "claims": [claim.to_json() for claim in self.claims],
            "violations": [
                {name: getattr(one, name) for name in ("group", "index", "value", "limit", "unit", "text")}
                for one in self.violations
            ],
            "unread": [],
            "completion": completion,
        }

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each claim."""
        return [row | {"explained_by": ""} for row in self.to_dict()["claims"]]

    def __str__(self) -> str:
        """Return what was found in one line."""
        found = f"{len(self.claims)} claims, {len(self.wrong)} wrong; {len(self.violations)} constraints broken"
        return f"{self.audit.name}: {found}"

    def __repr__(self) -> str:
        """Return one line."""
        return f"AuditedFleet({str(self)!r})"


def _unit(question: PoolsQuestion) -> str:
    from shardproof.solver.pools.told import UNITS

    return UNITS[question.objective][0]


def _in_words(claim: Claim) -> str:
    row = claim.to_json()
    unit, subject = row["unit"], row["subject"]
    said = f"{f'{subject}: ' if subject else ''}{row['field']} {row['stated']}{f' {unit}' if unit else ''}"
    if not claim.wrong:
        return f"{said} ({claim.formula})"
    return f"{said}, is {row['recomputed']}{f' {unit}' if unit else ''} ({claim.formula})"


def audited_fleet(plan: object, instance: object, *, completion: bool, limit: float | None) -> AuditedFleet | None:
    """Judge a fleet; ``None``: the plan is no fleet's.

    Raises
    ------
    InputError
        If it is one, and no question about pools is given.
    """
    from shardproof.instances.errors import InputError
    from shardproof.solver.api.fleets import SolvedFleet, fleet_from, solved_fleet
    from shardproof.solver.audit.fleet import audit_fleet, positions
    from shardproof.solver.search.settings import Settings

    tree, text = _tree_of(plan)
    if tree is None:
        return None
    name = Path(plan).name if isinstance(plan, str | Path) else "plan"
    given = plan if isinstance(plan, SolvedFleet) else tree
    if isinstance(instance, SolvedFleet):
        instance = instance.instance
    found = fleet_from(given, instance, {}) if instance is not None or isinstance(plan, SolvedFleet) else None
    if found is None:
        remedy = "name its question about devices with --instance: supplies, prices and requests are not in a plan"
        raise InputError(f"{name}: is the plan of a fleet of several devices; {remedy}")
    question, fleet = found
    best = solved_fleet(question, Settings(time_limit_s=limit)).result if completion else None
    return AuditedFleet(audit_fleet(question, fleet, tree, positions(text) if text else {}, name, best))


def _tree_of(plan: object) -> tuple[dict[str, Any] | None, str]:
    """Return a fleet's file as a tree with its text (``None``: it is no fleet's)."""
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.solver.api.fleets import SolvedFleet
    from shardproof.solver.audit.own_plan import mapping_of

    text = ""
    if isinstance(plan, SolvedFleet):
        tree: Any = plan.to_dict()
    elif isinstance(plan, FleetPlan):
        tree = plan.model_dump(mode="json")
    elif isinstance(plan, Mapping):
        tree = json.loads(json.dumps(plan, default=str))
    else:
        tree, text = mapping_of(plan, ("groups", "offer")) if isinstance(plan, str | Path) else (None, "")
    inner = tree.get("plan") if isinstance(tree, dict) and isinstance(tree.get("plan"), dict) else tree
    groups = inner.get("groups") if isinstance(inner, dict) else None
    is_fleet = isinstance(groups, list) and any(isinstance(group, dict) and "offer" in group for group in groups)
    return (tree, text) if is_fleet else (None, "")
