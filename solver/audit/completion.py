"""Completion: the best plan with the stated parts fixed, or the proof that there is none.

The stated parts become one more axis of the program with a single choice: the options that the stated
degrees allow, and rows that count stages. Everything else is left to the planner's own search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.plans import plan_of
from shardproof.formulations.deployment.tables import Axis, Choice, Path, Program, Table
from shardproof.instances.errors import ShardproofError
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.plan import Plan
from shardproof.solver.audit.claim import Claim, confirmed, contradicted, not_checkable
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.fixed_chain import best_chain
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.figures import Evaluation
from shardproof.solver.problem import deployment_of

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
    search = _Search(instance, context, time_limit_s)
    answers = [search.run(fixed) for fixed in _wanted(context)]
    optimum = answers[-1]
    judged = tuple(judge_minimal(claim, context, optimum["gpus"]) for claim in claims)
    sentences = [f"{answer['fixed']}: {answer['sentence']}" for answer in answers]
    return judged, {**answers[0], "relaxed": answers[1:], "sentences": sentences}


def _wanted(context: Context) -> list[Fixed]:
    """All stated parts; where they cannot stand together, what is left when some are given up; the optimum."""
    facts = context.facts
    degrees = bool(context.stage_options) or any(facts.stated(name) is not None for name in ("tp", "ep", "dp"))
    stated = context.stage_options or tuple(reading.option for reading in context.readings)
    options = tuple(dict.fromkeys(stated)) if degrees else None
    replicas = context.readings[0].replicas if context.readings else None
    wanted = [Fixed("all stated parts fixed", options, facts.pp, replicas, facts.gpus)]
    if (
        context.best is None
        or context.best.evaluation.violations
        or context.best.plan.gpus != (facts.gpus or context.best.plan.gpus)
    ):
        if facts.gpus is not None and options is not None:
            wanted.append(Fixed("degrees and stages fixed, GPU count given up", options, facts.pp, replicas))
            wanted.append(
                Fixed("stages and GPU budget fixed, degrees given up", None, facts.pp, facts.replicas, facts.gpus)
            )
        if options is not None:
            wanted.append(Fixed("degrees fixed, stages and GPU count given up", options, None, replicas))
    return [*wanted, Fixed("nothing fixed (the optimum)")]


def judge_minimal(claim: Claim, context: Context, optimum: int | None) -> Claim:
    """Judge a claim that the plan is the smallest, given the optimum's GPUs; any other claim stays as it is."""
    if claim.statement.field != "minimal_gpus" or claim.statement.value is not True:
        return claim
    gpus = context.facts.gpus or (min(r.gpus for r in context.readings) if context.readings else None)
    if optimum is None or gpus is None:
        return not_checkable(claim.statement, "the optimum is not known")
    formula = f"the proven optimum is {optimum} GPUs, the plan takes {gpus}"
    judge = confirmed if gpus <= optimum else contradicted
    return judge(claim.statement, formula, Fraction(optimum))


class _Search:
    """Solves restricted programs of one instance."""

    def __init__(self, instance: Instance, context: Context, time_limit_s: float | None) -> None:
        self.instance, self.context, self.time_limit_s = instance, context, time_limit_s

    def run(self, fixed: Fixed) -> dict[str, Any]:
        """Search one restricted program."""
        if fixed.options is not None and fixed.stages and self.context.fully_stated:
            return self._as_it_stands(fixed)
        if fixed.options is not None and fixed.gpus and fixed.stages and fixed.replicas:
            used = self.context.gpu_counts()
            if fixed.gpus not in used:
                counts = " or ".join(map(str, sorted(used)))
                return _answer(fixed, "infeasible", f"no plan: the degrees take {counts} GPUs, not {fixed.gpus}")
        deployment = deployment_of(self._narrowed(fixed))
        try:
            if fixed.options is not None and fixed.stages is not None:
                return self._cut(deployment, fixed)
            return self._solve(deployment, fixed)
        except (ShardproofError, OverflowError) as error:
            return _answer(fixed, "undecided", f"not decided: {error}")

    def _as_it_stands(self, fixed: Fixed) -> dict[str, Any]:
        """A plan that leaves nothing open but the microbatch is evaluated, not searched."""
        best = self.context.best
        if best is None:
            return _answer(fixed, "infeasible", "no plan: the stated stages do not cover the model, or break a rule")
        broken = sorted({violation.group for violation in best.evaluation.violations})
        if broken:
            return _answer(fixed, "infeasible", f"no plan: nothing is left open, and it breaks {', '.join(broken)}")
        return _written(fixed, best.plan, best.evaluation, status="optimal", bound=best.plan.gpus)

    def _narrowed(self, fixed: Fixed) -> Instance:
        stated = self.context.facts.gpus or 1
        budget = fixed.gpus or max(min(self.instance.max_gpus, 256), stated)
        widest = max(
            [option.gpus for option in fixed.options or ()] + [min(WIDEST, self.instance.device.devices_per_node)]
        )
        return self.instance.model_copy(update={"max_gpus": budget, "max_stage_gpus": min(widest, budget)})

    def _cut(self, deployment: Deployment, fixed: Fixed) -> dict[str, Any]:
        """Exactly the stated stages under the stated degrees: only cut and microbatch are open."""
        program = deployment.program
        options = _indices(program, fixed)
        wanted = {(reading.replicas, reading.option) for reading in self.context.readings}
        chains = []
        for replicas in sorted({copies for copies, _ in wanted}):
            own = tuple(index for index in options if (replicas, program.options[index]) in wanted)
            layouts = tuple(i for i, layout in enumerate(program.layouts) if layout.replicas == replicas)
            assert fixed.stages is not None
            chain = best_chain(program, layouts=layouts, options=own, stages=fixed.stages) if own and layouts else None
            chains += [chain] if chain else []
        if not options:
            return _answer(fixed, "infeasible", "no plan: the degrees break a rule of heads, widths, experts or nodes")
        if not chains:
            tried = (
                f"no cut into {fixed.stages} stages and no microbatch keeps memory and time limits (all of them tried)"
            )
            return _answer(fixed, "infeasible", f"no plan: {tried}")
        chain = min(chains, key=lambda found: found.gpus(program))
        return _described(fixed, deployment, chain, status="optimal", bound=chain.gpus(program))

    def _solve(self, deployment: Deployment, fixed: Fixed) -> dict[str, Any]:
        """The planner's own search with the stated parts as one more axis."""
        from shardproof.solver.search.lexicographic import LexicographicSearch
        from shardproof.solver.search.settings import Settings

        program = restrict_to(deployment.program, fixed)
        if program is None:
            return _answer(fixed, "infeasible", "no plan: the degrees break a rule, or there are no such copies")
        outcome = LexicographicSearch(program, Settings(time_limit_s=self.time_limit_s, certify=False)).run()
        if outcome.chain is None:
            budget = deployment.instance.max_gpus
            proven = (
                f"no plan exists with up to {budget} GPUs (proven)" if outcome.infeasible else "not decided in time"
            )
            return _answer(fixed, "infeasible" if outcome.infeasible else "undecided", proven)
        level = outcome.levels.get("gpus")
        status = "optimal" if level is not None and level.proven else "feasible"
        chain = replace(outcome.chain, choices=outcome.chain.choices[:-1])
        return _described(fixed, deployment, chain, status=status, bound=None if level is None else level.bound)


def _described(fixed: Fixed, deployment: Deployment, chain: Chain, *, status: str, bound: int | None) -> dict[str, Any]:
    plan = plan_of(deployment, chain)
    figures = evaluate(deployment.instance, plan, deployment=deployment)
    return _written(fixed, plan, figures, status=status, bound=bound)


def _written(fixed: Fixed, plan: Plan, figures: Evaluation, *, status: str, bound: int | None) -> dict[str, Any]:
    sentence = (
        f"{plan.gpus} GPUs in {len(plan.stages)} stages, TTFT {figures.ttft / 1e9:.4g} s, "
        f"peak memory {figures.peak_memory / 1e9:.4g} GB ({status})"
    )
    answer = _answer(fixed, status, sentence)
    answer |= {"gpus": plan.gpus, "bound": bound, "plan": plan.model_dump(mode="json")}
    answer["metrics"] = {
        "ttft_s": figures.ttft / 1e9,
        "tpot_ms": figures.tpot / 1e6,
        "peak_memory_bytes": figures.peak_memory,
    }
    return answer


def _answer(fixed: Fixed, status: str, sentence: str) -> dict[str, Any]:
    return {
        "fixed": fixed.name,
        "status": status,
        "gpus": None,
        "bound": None,
        "plan": None,
        "metrics": None,
        "sentence": sentence,
    }


def _indices(program: Program, fixed: Fixed) -> tuple[int, ...]:
    wanted = fixed.options
    return tuple(index for index, option in enumerate(program.options) if wanted is None or option in wanted)


def restrict_to(program: Program, fixed: Fixed) -> Program | None:
    """Add the fixed parts as an axis of one choice; ``None`` if no option or layout is left.

    ``stages`` is kept as a row: every stage counts one, the sum over a replica is at most that many.
    """
    indices = _indices(program, fixed)
    layouts = tuple(layout for layout in program.layouts if fixed.replicas in (None, layout.replicas))
    if not indices or not layouts:
        return None
    choice = Choice(value=0, paths=_count_rows(program, fixed), options=indices)
    axis = Axis("stated", (choice,))
    return replace(program, layouts=tuple(replace(layout, axes=(*layout.axes, axis)) for layout in layouts))


def _count_rows(program: Program, fixed: Fixed) -> tuple[Path, ...]:
    if fixed.stages is None:
        return ()
    count, kinds = len(program.options), len(set(program.kinds))
    zeros = (0,) * count
    each = tuple((0,) * kinds for _ in range(count))
    table = Table(base=(1,) * count, entry=zeros, first=zeros, last=zeros, layer=each)
    return (Path("stages", table, 1, fixed.stages),)
