"""`audit` and `compare`: plans that people wrote, judged, and set beside the proven optimum."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.solver.api.audited_fleet import AuditedFleet, audited_fleet
from shardproof.solver.api.predicted import plan_from
from shardproof.solver.api.question import instance_from
from shardproof.solver.api.record import Answered, seconds_of
from shardproof.solver.api.solved import Solved

if TYPE_CHECKING:
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.plan import Plan
    from shardproof.solver.api.fleets import ComparedFleets, SolvedFleet
    from shardproof.solver.api.predicted import AnyPlan
    from shardproof.solver.api.question import Question
    from shardproof.solver.audit.audit import Audit
    from shardproof.solver.audit.claim import Claim
    from shardproof.solver.audit.compare import Column, Comparison
    from shardproof.solver.audit.review import Review
    from shardproof.solver.documents.statement import Document
    from shardproof.solver.evaluation.figures import Violation


@dataclass(frozen=True, repr=False, eq=False)
class Audited(Answered):
    """Every claim of a plan, judged; the constraints that it breaks; the best completion of its stated parts."""

    review: Review

    @property
    def audit(self) -> Audit:
        """The audit of the first plan; `audits` has those of all."""
        return self.review.audits[0]

    @property
    def audits(self) -> tuple[Audit, ...]:
        """One audit for each plan that stands in the document (or the folder)."""
        return self.review.audits

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All claims with their verdicts."""
        return self.review.claims

    @property
    def wrong(self) -> tuple[Claim, ...]:
        """Claims that do not hold."""
        return tuple(claim for claim in self.claims if claim.wrong)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Constraints that the plans break."""
        return self.review.violations

    @property
    def plan(self) -> Plan | None:
        """The plan as it was read; ``None`` where the stated parts make none."""
        return None if self.audit.context.best is None else self.audit.context.best.plan

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, 4 where a claim or a constraint fails."""
        return self.review.exit_code

    def text(self, *, colour: bool = False, every: bool = False) -> str:
        """Return the audit laid out for a terminal; ``every``: also the claims that hold."""
        from shardproof.solver.audit.render import render_review

        return render_review(self.review, colour=colour, every=every)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``audit --json`` prints."""
        return self.review.to_json()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each claim."""
        return [
            tree | {"explained_by": ", ".join(map(str, tree.get("explained_by") or ()))}
            for tree in self.to_dict()["claims"]
        ]

    def __str__(self) -> str:
        """Return what was found in one line."""
        return (
            f"{self.review.source.name}: {len(self.claims)} claims, {len(self.wrong)} wrong; "
            f"{len(self.violations)} constraints broken"
        )

    def __repr__(self) -> str:
        """Return one line."""
        return f"Audited({str(self)!r})"


def audit(
    plan: AnyPlan,
    instance: Question | None = None,
    *,
    completion: bool = True,
    time_limit: float | str | None = 60.0,
) -> Audited | AuditedFleet:
    """Judge every claim of the plans in a document, a deployment form, a folder, or an engine's command line.

    The plan of a fleet of several devices is held against its question, which must be given.

    Parameters
    ----------
    plan
        Path of the document or folder, or the command line itself; or a `Plan`, a mapping, an answer of `solve`.
    instance
        The question; without it, the document's own sections are it.
    completion
        Search the best completion of the stated parts.
    time_limit
        Seconds, or text with a unit, for the completion.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    from shardproof.instances.engine_choice import question_of
    from shardproof.solver.audit.review import completed, fleet_review, review, review_of

    limit = seconds_of(time_limit, "time_limit")
    fleet = audited_fleet(plan, instance, completion=completion, limit=limit)
    if fleet is not None:
        return fleet
    asked = None if instance is None else instance_from(instance, {})
    if asked is None and isinstance(plan, Solved):
        asked = plan.instance
    own = _own_plan(plan)
    if own is not None and asked is not None:
        asked = question_of(asked, own)
    if own is not None and own.groups:
        name = Path(plan).name if isinstance(plan, str | Path) else "plan"
        found = fleet_review(own, asked, name)
        return Audited(completed(found, time_limit_s=limit) if completion else found)
    found = review(plan, asked) if isinstance(plan, str | Path) else review_of(_document(plan), asked)
    return Audited(completed(found, time_limit_s=limit) if completion else found)


def _own_plan(plan: AnyPlan) -> Plan | None:
    """Return the plan as `solve` writes it, if it is one."""
    if isinstance(plan, str | Path):
        from shardproof.solver.audit.own_plan import own_plan

        return own_plan(plan)
    if isinstance(plan, Mapping):
        from shardproof.instances.errors import InputError
        from shardproof.instances.plan import plan_from_tree

        try:
            return plan_from_tree(dict(plan), where="plan")
        except InputError:
            return None
    return plan_from(plan)


def _document(plan: AnyPlan) -> Document:
    from shardproof.solver.documents.reader import parse_document

    tree = plan if isinstance(plan, Mapping) else plan_from(plan).model_dump(mode="json", exclude_none=True)
    return parse_document(json.dumps(tree, default=str), name="plan", suffix=".json")


@dataclass(frozen=True, repr=False, eq=False)
class Compared(Answered):
    """Plans beside the proven optimum: figures, violations, what is saved and by which decisions."""

    comparison: Comparison

    @property
    def optimum(self) -> Solved:
        """The answer that the plans are held against."""
        return Solved(self.comparison.instance, self.comparison.result)

    @property
    def plan(self) -> Plan | None:
        """The proven plan."""
        return self.comparison.result.plan

    @property
    def columns(self) -> tuple[Column, ...]:
        """Figures of each plan, and of the optimum last, where there is one."""
        best = self.comparison.optimum
        return self.comparison.plans if best is None else (*self.comparison.plans, best)

    @property
    def exit_code(self) -> int:
        """0 every plan holds, 4 a plan breaks a constraint; without an optimum as `Solved.exit_code`."""
        if self.plan is None:
            return self.comparison.result.exit_code
        return 4 if any(column.violations for column in self.comparison.plans) else 0

    def document(self) -> str | None:
        """Return the proven plan as a Markdown deployment document; ``None`` without a plan."""
        return self.optimum.document()

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``compare --json`` prints."""
        return self.comparison.to_json()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each plan, the optimum last."""
        return [_column_row(column) for column in self.columns]

    def __str__(self) -> str:
        """Return what each plan would save, in sentences."""
        lines = []
        for name, sentences in self.comparison.savings:
            lines += [name, *(f"  {sentence}" for sentence in sentences)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return one line."""
        return f"Compared({len(self.comparison.plans)} plans, optimum={self.optimum!r})"


def _column_row(column: Column) -> dict[str, Any]:
    tree = column.to_json()
    parts = {f"{part}_bytes": size for part, size in tree.pop("memory_parts").items()}
    tree["stages"] = len(column.stages) or None
    tree["violations"] = ", ".join(column.violations)
    return tree | parts


def compare(
    *plans: str | Path | Plan | FleetPlan | Solved | SolvedFleet,
    instance: Question | Solved | SolvedFleet,
    time_limit: float | str | None = None,
) -> Compared | ComparedFleets:
    """Set plans beside the proven optimum: GPUs, times, memory, violations, price, and what is saved.

    Parameters
    ----------
    *plans
        Paths of plans in any form that `audit` reads, `Plan` records, or answers of `solve`.
    instance
        The question that all plans answer; an answer of `solve` is taken as the optimum.
    time_limit
        Seconds, or text with a unit, after which the best plan and the bound are used.

    Raises
    ------
    InputError
        If a file is wrong, or no plan is given.
    """
    from shardproof.instances.errors import InputError
    from shardproof.solver.api.fleets import SolvedFleet, compared_fleets
    from shardproof.solver.api.solved import solve
    from shardproof.solver.audit.compare import compare as compare_plans

    if not plans:
        raise InputError("compare: name at least one plan")
    optimum = instance if isinstance(instance, Solved | SolvedFleet) else solve(instance, time_limit=time_limit)
    if isinstance(optimum, SolvedFleet):
        return compared_fleets(optimum, [(_called(plan, at), _fleet_plan(plan)) for at, plan in enumerate(plans)])
    held = tuple(plan if isinstance(plan, str | Path) else _single(plan) for plan in plans)
    asked = optimum.instance if isinstance(instance, Solved | SolvedFleet) else instance_from(instance, {})
    return Compared(compare_plans(held, asked, optimum.result))


def _single(plan: Plan | FleetPlan | Solved | SolvedFleet) -> Plan:
    """Return a plan of one device and model."""
    from shardproof.instances.errors import InputError
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.solver.api.fleets import SolvedFleet

    if isinstance(plan, FleetPlan | SolvedFleet):
        raise InputError("compare: a fleet of several devices answers no question about one; name another instance")
    return plan_from(plan)


def _called(plan: object, place: int) -> str:
    return str(plan) if isinstance(plan, str | Path) else f"plan {place}"


def _fleet_plan(plan: object) -> FleetPlan:
    """Read a fleet plan: a record, an answer, a mapping or a file."""
    from shardproof.instances.errors import InputError
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.reading import read_mapping, validate
    from shardproof.solver.api.fleets import SolvedFleet

    if isinstance(plan, SolvedFleet):
        if plan.plan is None:
            raise InputError(f"the answer is {plan.status}: it holds no fleet")
        return plan.plan
    if isinstance(plan, FleetPlan):
        return plan
    tree: Any = plan if isinstance(plan, Mapping) else read_mapping(Path(str(plan)))
    inner = tree.get("plan")
    return validate(FleetPlan, inner if isinstance(inner, dict) else tree, where=_called(plan, 0))
