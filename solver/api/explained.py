"""`explain`: why fewer GPUs are impossible, or why there is no plan at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Unpack, overload

from shardproof.instances.clock import checked_by, now
from shardproof.solver.api.question import Fields, asked_from, check_fields, shows_fields
from shardproof.solver.api.record import Answered, seconds_of

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.analysis.conflicts import Conflict
    from shardproof.solver.api.fleets import ExplainedFleet
    from shardproof.solver.api.question import Asking, Question
    from shardproof.solver.proof.refutation import CapacityClaim
    from shardproof.solver.result import Result


@dataclass(frozen=True, repr=False, eq=False)
class Explained(Answered):
    """Reasons read off the proof, and formats that would save GPUs; without any plan, limits that conflict.

    ``conflicts`` is a smallest set of limits that cannot hold together, each with the value it would need.
    """

    instance: Instance
    result: Result
    reasons: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    alternatives: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 a plan, 1 no plan exists, 3 undecided."""
        return self.result.exit_code

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``explain --json`` prints."""
        return {
            "status": self.result.status,
            "proof": self.result.proof,
            "gpus": self.result.gpus,
            "bound": self.result.bound,
            "reasons": list(self.reasons),
            "conflicts": [asdict(conflict) for conflict in self.conflicts],
            "alternatives": list(self.alternatives),
        }

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each sentence, with its kind."""
        kinds = (
            ("reason", self.reasons),
            ("conflict", tuple(conflict.words for conflict in self.conflicts)),
            ("alternative", self.alternatives),
            ("in short", self.result.explanation),
        )
        return [{"kind": kind, "sentence": sentence} for kind, sentences in kinds for sentence in sentences]

    def __str__(self) -> str:
        """Return the sentences, one a line."""
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        """Return one line."""
        return f"Explained({self.result.status}, {len(self.rows())} sentences)"

    def _repr_html_(self) -> str:
        from shardproof.solver.api.html import piece

        return piece(str(self))

    def _lines(self) -> Iterator[str]:
        from shardproof.solver.result import HOW_SURE
        from shardproof.solver.writers.layout import in_short

        name, result = f"{self.instance.model.name} on {self.instance.device.name}", self.result
        if result.status == "infeasible":
            yield f"{name}: no plan exists with up to {_counted(self.instance.max_gpus)} ({_verdict(result)})."
            yield from (f"  - {conflict.words}" for conflict in self.conflicts)
            yield from _how_they_conflict(self.conflicts)
            yield from (f"  - or with {change}" for change in self.alternatives)
        elif result.bound is None or result.bound <= 1:
            yield f"{name}: {_counted(result.gpus)}; none has fewer than 1."
        else:
            verb = "is" if result.bound == 2 else "are"
            yield f"{name}: {_counted(result.gpus)}; {result.bound - 1} {verb} impossible ({HOW_SURE[result.proof]}):"
        yield from (f"  - {reason}." for reason in self.reasons)
        if result.status != "infeasible":
            yield from (f"  - would save GPUs: {change}." for change in self.alternatives)
        yield from in_short(result.explanation)


def _how_they_conflict(conflicts: Sequence[Conflict]) -> Iterator[str]:
    if not conflicts:
        return
    if all(conflict.needed is not None for conflict in conflicts):
        yield "Each of these limits is needed for that: drop any one and a plan exists."
    elif len(conflicts) == 1:
        yield "This limit alone leaves no plan."
    else:
        yield "These limits together leave no plan, whatever the other limits are."


def _verdict(result: Result) -> str:
    from shardproof.solver.result import HOW_SURE

    return "certified infeasible" if result.proof == "certified-optimal" else f"infeasible, {HOW_SURE[result.proof]}"


def _counted(gpus: int | None) -> str:
    from shardproof.instances.units import format_gpus

    return "no plan found yet" if gpus is None else format_gpus(gpus)


def explanation_of(instance: Instance, result: Result, stop_at: float = math.inf) -> Explained:
    """Explain a result; what is not known when the clock is past ``stop_at`` is said to be missing."""
    from shardproof.formulations.open_loop import is_open

    conflicts: tuple[Conflict, ...] = ()
    alternatives: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    if instance.serving != "together":
        return Explained(instance, result, tuple(_reasons_apart(instance, result)), (), ())
    if is_open(instance):
        from shardproof.solver.open_loop.why import why_not_fewer as why_open

        return Explained(instance, result, why_open(instance, result), (), ())
    if result.status == "infeasible":
        conflicts, unknown = _conflicts(instance, stop_at)
    if result.status == "infeasible" or (result.status == "optimal" and (result.gpus or 0) > 1):
        alternatives = _formats(instance, result.gpus, stop_at)
    reasons = (*_reasons(instance, result), *unknown, *_lifted(instance, result, stop_at))
    return Explained(instance, result, reasons, conflicts, alternatives)


def _conflicts(instance: Instance, stop_at: float) -> tuple[tuple[Conflict, ...], tuple[str, ...]]:
    """Return the conflicting limits, or that there was no time to find them."""
    from shardproof.solver.analysis.conflicts import TAKES_LONGER, conflicts
    from shardproof.solver.analysis.limiting import stopper
    from shardproof.solver.search.query import Interrupted

    try:
        with checked_by(stopper(stop_at)):
            return conflicts(instance, stop_at), ()
    except Interrupted:
        return (), (f"which limits cannot hold together {TAKES_LONGER}",)


SEARCHED_SHARE = 0.6
"""Share of a time limit that the search itself may take; the rest is left for its reasons."""

LIFTED_WITHIN_S = 5.0
"""Seconds for finding out which restrictions of the search space cost a GPU."""


def _formats(instance: Instance, gpus: int | None, stop_at: float) -> tuple[str, ...]:
    from shardproof.solver.analysis.conflicts import cheaper_formats
    from shardproof.solver.analysis.limiting import stopper
    from shardproof.solver.search.query import Interrupted

    found: list[str] = []
    within = min(stop_at, now() + LIFTED_WITHIN_S)
    try:
        with checked_by(stopper(within)):
            found.extend(cheaper_formats(instance, gpus, within))
    except Interrupted:
        found.append("other formats: finding out takes longer; see `shardproof solve --top`")
    return tuple(found)


def _lifted(instance: Instance, result: Result, stop_at: float) -> tuple[str, ...]:
    if result.status != "optimal" or result.gpus is None or result.gpus <= 1:
        return ()
    from shardproof.solver.analysis.limiting import lifted_sentences, stopper
    from shardproof.solver.problem import deployment_of
    from shardproof.solver.search.query import Interrupted

    found: list[str] = []
    within = min(stop_at, now() + LIFTED_WITHIN_S)
    try:
        with checked_by(stopper(within)):
            found.extend(lifted_sentences(deployment_of(instance), result.gpus, within))
    except Interrupted:
        found.append("which restrictions of the search space cost a GPU takes longer to find out")
    return tuple(found)


def _reasons(instance: Instance, result: Result) -> tuple[str, ...]:
    evidence = result.evidence
    if evidence is None:
        return ()
    from shardproof.solver.analysis.explain import why_no_fleet, why_not_fewer
    from shardproof.solver.problem import deployment_of
    from shardproof.solver.proof.capacity import alike_claims

    deployment = deployment_of(instance).limited(evidence.program.max_gpus)
    refutation, claims = evidence.refutations.get("gpus"), evidence.capacities.get("gpus", ())
    below = evidence.program.max_gpus if result.bound is None else result.bound - 1
    if refutation is None:
        return why_no_fleet(deployment, claims, below) if claims else ()
    reasons = why_not_fewer(deployment, refutation)
    alike = alike_claims(evidence.program.layouts, refutation.gpus, refutation.trees, deployment.demand)
    return reasons if _within(claims, alike) else reasons + why_no_fleet(deployment, claims, below)


def _reasons_apart(instance: Instance, result: Result) -> Iterator[str]:
    """Say of each part of an answer why it has no fewer GPUs."""
    from shardproof.formulations.apart.phases import is_steady
    from shardproof.solver.apart.certificate import questions_of

    if is_steady(instance):
        return
    asked = questions_of(instance)
    for name, part in result.pools.items():
        words = "together" if name == "together" else f"the {name} pool"
        for reason in _reasons(asked[name], part):
            yield f"{words}: {reason}"


def _within(claims: Sequence[CapacityClaim], alike: Sequence[CapacityClaim]) -> bool:
    """Whether replicas all alike refuse every load that a fleet's proof needs."""
    known = {(claim.gpus, claim.load) for claim in alike}
    return all((claim.gpus, claim.load) in known for claim in claims)


@overload
def explain(
    instance: PoolsQuestion, *, time_limit: float | str | None = None, **fields: Unpack[Fields]
) -> ExplainedFleet: ...


@overload
def explain(
    instance: Question | None = None, *, time_limit: float | str | None = None, **fields: Unpack[Fields]
) -> Explained: ...


@shows_fields
def explain(
    instance: Asking | None = None, *, time_limit: float | str | None = None, **fields: Unpack[Fields]
) -> Explained | ExplainedFleet:
    """Say in sentences why one GPU fewer is impossible; each is read off the checked proof.

    Parameters
    ----------
    instance
        Path of an instance file, its fields as a mapping, or an `Instance`.
    time_limit
        Seconds, or text with its unit; reasons that are not known by then are said to be missing (``None``: no limit).
    **fields
        What a flag of the command line says, under the flag's name.

    Raises
    ------
    InputError
        If the question is wrong or incomplete.
    """
    check_fields(fields, "explain")
    from shardproof.solver.search.settings import Settings

    limit, started = seconds_of(time_limit, "time_limit"), now()
    settings = Settings(time_limit_s=None if limit is None else SEARCHED_SHARE * limit)
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.answer import answer
    from shardproof.solver.api.fleets import explained_fleet

    asked = asked_from(instance, fields)
    if isinstance(asked, PoolsQuestion):
        return explained_fleet(asked, settings)
    result = answer(asked, settings=settings)
    return explanation_of(result.question or asked, result, math.inf if limit is None else started + limit)
