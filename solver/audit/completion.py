"""Completion: the best plan with the stated parts fixed, or the proof that there is none.

The stated parts become one more axis of the program with a single choice: the options that the stated
degrees allow, and rows that count stages. Everything else is left to the planner's own search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from formulations.deployment.build import Deployment
from formulations.deployment.plans import plan_of
from formulations.deployment.tables import Axis, Choice, Option, Path, Program, Table
from instances.errors import ShardproofError
from instances.instance import Instance
from solver.audit.claim import Claim, confirmed, contradicted, not_checkable
from solver.audit.context import Context
from solver.evaluate import evaluate

WIDEST = 72


@dataclass(frozen=True)
class Fixed:
    """The stated parts that a search keeps: degrees, stages, replicas, GPU budget (``None``: left open)."""

    name: str
    options: tuple[Option, ...] | None = None
    stages: int | None = None
    replicas: int | None = None
    gpus: int | None = None


def complete(
    context: Context, claims: tuple[Claim, ...], *, time_limit_s: float | None
) -> tuple[tuple[Claim, ...], dict[str, Any] | None]:
    """Search the completion of a plan; claims that need the proven optimum are judged by the way."""
    instance = context.instance
    if instance is None:
        return claims, None
    facts = context.facts
    fits = context.best is not None and not context.best.evaluation.violations
    options = tuple({reading.option for reading in context.readings})
    replicas = context.readings[0].replicas if context.readings else None
    searches = [Fixed("all stated parts", options, facts.pp, replicas, facts.gpus)]
    if not fits:
        searches.append(Fixed("stages and GPU budget, degrees given up", None, facts.pp, facts.replicas, facts.gpus))
        searches.append(Fixed("degrees, stages and GPU count given up", options, None, replicas, None))
    searches.append(Fixed("nothing: the optimum"))
    answers = [_search(instance, fixed, context, time_limit_s=time_limit_s) for fixed in searches]
    optimum = answers[-1]
    judged = tuple(_minimal(claim, context, optimum) for claim in claims)
    sentences = [f"fixed {answer['fixed']}: {answer['sentence']}" for answer in answers]
    return judged, {**answers[0], "relaxed": answers[1:], "sentences": sentences}


def _minimal(claim: Claim, context: Context, optimum: dict[str, Any]) -> Claim:
    if claim.statement.field != "minimal_gpus" or claim.statement.value is not True:
        return claim
    gpus = context.facts.gpus or (min(r.gpus for r in context.readings) if context.readings else None)
    if optimum["gpus"] is None or gpus is None:
        return not_checkable(claim.statement, "the optimum is not known")
    formula = f"the proven optimum is {optimum['gpus']} GPUs, the plan takes {gpus}"
    from fractions import Fraction

    judge = confirmed if gpus <= optimum["gpus"] else contradicted
    return judge(claim.statement, formula, Fraction(optimum["gpus"]))


def _search(instance: Instance, fixed: Fixed, context: Context, *, time_limit_s: float | None) -> dict[str, Any]:
    """Solve one restricted program."""
    from solver.solve import LexicographicSearch, Settings

    stated = context.facts.gpus
    budget = fixed.gpus or min(instance.max_gpus, max(256, stated or 1))
    if fixed.options is not None and fixed.gpus and fixed.stages and fixed.replicas:
        used = {fixed.replicas * fixed.stages * option.gpus for option in fixed.options}
        if fixed.gpus not in used:
            counts = " or ".join(map(str, sorted(used)))
            return _answer(fixed, "infeasible", None, f"no plan: the degrees take {counts} GPUs, not {fixed.gpus}")
    widest = max([option.gpus for option in fixed.options or ()] + [min(WIDEST, instance.device.devices_per_node)])
    narrowed = instance.model_copy(update={"max_gpus": budget, "max_stage_gpus": min(widest, budget)})
    try:
        deployment = Deployment(narrowed)
        program = restrict_to(deployment.program, fixed)
        if program is None:
            return _answer(fixed, "infeasible", None, "no plan: the degrees break a rule, or no such copies exist")
        outcome = LexicographicSearch(program, Settings(time_limit_s=time_limit_s, certify=False)).run()
    except ShardproofError as error:
        return _answer(fixed, "undecided", None, f"not searched: {error}")
    if outcome.chain is None:
        status = "infeasible" if outcome.infeasible else "undecided"
        sentence = f"no plan exists with up to {budget} GPUs (proven)" if outcome.infeasible else "not decided in time"
        return _answer(fixed, status, None, sentence)
    chain = replace(outcome.chain, choices=outcome.chain.choices[:-1])
    plan = plan_of(deployment, chain)
    figures = evaluate(narrowed, plan, deployment=deployment)
    proven = outcome.levels.get("gpus")
    status = "optimal" if proven is not None and proven.proven else "feasible"
    sentence = (
        f"{plan.gpus} GPUs in {len(plan.stages)} stages, TTFT {figures.ttft / 1e9:.4g} s, "
        f"peak memory {figures.peak_memory / 1e9:.4g} GB ({status})"
    )
    answer = _answer(fixed, status, plan.gpus, sentence)
    answer["bound"] = None if proven is None else proven.bound
    answer["plan"] = plan.model_dump(mode="json")
    answer["metrics"] = {"ttft_s": figures.ttft / 1e9, "tpot_ms": figures.tpot / 1e6, "peak_memory_bytes": figures.peak_memory}
    return answer


def _answer(fixed: Fixed, status: str, gpus: int | None, sentence: str) -> dict[str, Any]:
    return {
        "fixed": fixed.name,
        "status": status,
        "gpus": gpus,
        "bound": None,
        "plan": None,
        "metrics": None,
        "sentence": sentence,
    }


def restrict_to(program: Program, fixed: Fixed) -> Program | None:
    """Add the fixed parts as an axis of one choice; ``None`` if no option or layout is left."""
    indices = tuple(
        index for index, option in enumerate(program.options) if fixed.options is None or option in fixed.options
    )
    layouts = tuple(layout for layout in program.layouts if fixed.replicas in (None, layout.replicas))
    if not indices or not layouts:
        return None
    choice = Choice(value=0, paths=_count_rows(program, fixed), options=indices)
    axis = Axis("stated", (choice,))
    return replace(program, layouts=tuple(replace(layout, axes=(*layout.axes, axis)) for layout in layouts))


def _count_rows(program: Program, fixed: Fixed) -> tuple[Path, ...]:
    """At most and at least ``fixed.stages`` stages, as rows over the layers.

    At most: every stage counts 1, the sum is at most S. At least: every stage counts its layers less one,
    the sum over a replica is layers - stages, at most layers - S.
    """
    if fixed.stages is None:
        return ()
    count, kinds, layers = len(program.options), len(set(program.kinds)), len(program.kinds)
    zeros = (0,) * count
    each = tuple((0,) * kinds for _ in range(count))
    most = Table(base=(1,) * count, entry=zeros, first=zeros, last=zeros, layer=each)
    ones = tuple((1,) * kinds for _ in range(count))
    least = Table(base=(-1,) * count, entry=zeros, first=zeros, last=zeros, layer=ones)
    return (
        Path("stages_at_most", most, 1, fixed.stages),
        Path("stages_at_least", least, 1, layers - fixed.stages),
    )
