"""Completion: the best plan with the stated parts fixed, or the proof that there is none.

The stated parts become one more axis of the program with a single choice (`shardproof.solver.audit.restricted`).
Everything else is left to the planner's own search; where nothing is fixed, `solve` itself answers.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.plans import plan_of
from shardproof.formulations.open_loop import is_open
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.audit.claim import Claim, confirmed, contradicted, not_checkable
from shardproof.solver.audit.completed import CompletedFigures, Completion, Completions
from shardproof.solver.audit.context import Context
from shardproof.solver.audit.fixed_chain import best_chain
from shardproof.solver.audit.restricted import Fixed, places_of, restrict_to
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.figures import Evaluation
from shardproof.solver.open_loop.evaluated import evaluate_any
from shardproof.solver.problem import deployment_of
from shardproof.solver.result import Status

WIDEST = 72
"""GPUs of the widest stage that is looked at: the largest scale-up domain in the catalogue."""

MOST_GPUS = 256
"""GPUs that are searched where the plan states no more: `solve` does as much without a limit."""


def complete(
    context: Context, claims: tuple[Claim, ...], *, time_limit_s: float | None
) -> tuple[tuple[Claim, ...], Completions | None]:
    """Search the completion of a plan; claims that need the proven optimum are judged by the way."""
    instance = context.instance
    if instance is None:
        return claims, None
    search = _Search(instance, context, time_limit_s)
    stated, *relaxed = (search.run(fixed) for fixed in _wanted(context))
    found = Completions(stated, tuple(relaxed))
    return tuple(judge_minimal(claim, context, found.optimum.gpus) for claim in claims), found


def _wanted(context: Context) -> list[Fixed]:
    """All stated parts; where they cannot stand together, what is left when some are given up; the optimum."""
    facts = context.facts
    degrees = bool(context.stage_options) or any(facts.stated(name) is not None for name in ("tp", "ep", "dp"))
    stated = context.stage_options or tuple(reading.option for reading in context.readings)
    options = tuple(dict.fromkeys(stated)) if degrees else None
    replicas = context.readings[0].replicas if context.readings and not context.says_one_replica else None
    if context.is_elsewhere:
        options = replicas = None
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

    def run(self, fixed: Fixed) -> Completion:
        """Search one restricted program; a question beyond what can be searched is undecided, a fault of ours ends."""
        if fixed.options is not None and fixed.stages and self.context.fully_stated:
            return self._as_it_stands(fixed)
        if fixed.options is not None and fixed.gpus and fixed.stages and fixed.replicas:
            used = self.context.gpu_counts()
            if fixed.gpus not in used:
                counts = " or ".join(map(str, sorted(used)))
                return _none(fixed, f"no plan: the degrees take {counts} GPUs, not {fixed.gpus}")
        if is_open(self.instance) and not fixed.is_nothing:
            return Completion(fixed.name, "undecided", "not searched: requests come by themselves, plans are played")
        try:
            if fixed.is_nothing:
                return self._solved(fixed)
            deployment = deployment_of(self._told(self._narrowed(fixed)))
            if fixed.options is not None and fixed.stages is not None:
                return self._cut(deployment, fixed)
            return self._searched(deployment, fixed)
        except (InputError, OverflowError) as error:
            return Completion(fixed.name, "undecided", f"not decided: {error}")

    def _as_it_stands(self, fixed: Fixed) -> Completion:
        """A plan that leaves nothing open but the microbatch is evaluated, not searched."""
        best = self.context.best
        if best is None:
            return _none(fixed, "no plan: the stated stages do not cover the model, or break a rule")
        broken = sorted({violation.group for violation in best.evaluation.violations})
        if broken:
            return _none(fixed, f"no plan: nothing is left open, and it breaks {', '.join(broken)}")
        return _written(fixed, best.plan, best.evaluation, status="optimal", bound=best.plan.gpus)

    def _narrowed(self, fixed: Fixed) -> Instance:
        stated = self.context.facts.gpus or 1
        budget = fixed.gpus or max(min(self.instance.max_gpus, MOST_GPUS), stated)
        widest = max(
            [option.gpus for option in fixed.options or ()] + [min(WIDEST, self.instance.device.devices_per_node)]
        )
        return self.instance.model_copy(update={"max_gpus": budget, "max_stage_gpus": min(widest, budget)})

    def _told(self, asked: Instance) -> Instance:
        """The question with the requests at once that the launch says: a stated part as the degrees are."""
        told = self.context.told_sequences
        if told is None:
            return asked
        settings = asked.engine_settings.model_copy(update={"max_num_seqs": told})
        return asked.model_copy(update={"engine_settings": settings})

    def _cut(self, deployment: Deployment, fixed: Fixed) -> Completion:
        """Exactly the stated stages under the stated degrees: only cut and microbatch are open."""
        program = deployment.program
        options = places_of(program, fixed)
        if not options:
            return _none(fixed, "no plan: the degrees break a rule of heads, widths, experts or nodes")
        chains = self._chains(deployment, fixed, options)
        if not chains:
            stages = f"no cut into {fixed.stages} stages"
            return _none(fixed, f"no plan: {stages} and no microbatch keeps memory and time limits (all of them tried)")
        chain = min(chains, key=lambda found: found.gpus(program))
        return self._described(fixed, deployment, chain, status="optimal", bound=chain.gpus(program))

    def _chains(self, deployment: Deployment, fixed: Fixed, options: tuple[int, ...]) -> list[Chain]:
        """Best chain of each replica count that the degrees may be read to mean."""
        program, found = deployment.program, []
        wanted = {(reading.replicas, reading.option) for reading in self.context.readings}
        if self.context.says_one_replica:  # what one command starts may stand beside itself
            copies = {layout.replicas for layout in program.layouts}
            wanted = {(copy, option) for own, option in wanted for copy in copies if copy % own == 0}
        for replicas in sorted({copies for copies, _ in wanted}):
            own = tuple(place for place in options if (replicas, program.options[place]) in wanted)
            layouts = tuple(i for i, layout in enumerate(program.layouts) if layout.replicas == replicas)
            assert fixed.stages is not None
            chain = best_chain(program, layouts=layouts, options=own, stages=fixed.stages) if own and layouts else None
            found += [chain] if chain else []
            if found and self.context.says_one_replica:
                break
        return found

    def _searched(self, deployment: Deployment, fixed: Fixed) -> Completion:
        """The planner's own search with the stated parts as one more axis."""
        from shardproof.solver.search.lexicographic import LexicographicSearch
        from shardproof.solver.search.settings import Settings

        program = restrict_to(deployment.program, fixed)
        if program is None:
            return _none(fixed, "no plan: the degrees break a rule, or there are no such copies")
        outcome = LexicographicSearch(program, Settings(time_limit_s=self.time_limit_s, certify=False)).run()
        if outcome.chain is None and outcome.infeasible:
            return _none(fixed, f"no plan exists with up to {deployment.instance.max_gpus} GPUs (proven)")
        if outcome.chain is None:
            return Completion(fixed.name, "undecided", "not decided in time")
        level = outcome.levels["gpus"]
        chain = replace(outcome.chain, choices=outcome.chain.choices[:-1])
        status: Status = "optimal" if level.proven else "feasible"
        return self._described(fixed, deployment, chain, status=status, bound=level.bound)

    def _solved(self, fixed: Fixed) -> Completion:
        """The question itself, as `solve` answers it."""
        from shardproof.solver.answer import answer
        from shardproof.solver.search.settings import Settings
        from shardproof.solver.solve import solve

        given = self.context.facts.instance is not None
        asked = self.instance if given else self._narrowed(fixed)
        find = answer if is_open(asked) else solve
        result = find(asked, settings=Settings(time_limit_s=self.time_limit_s, certify=False, explain=False))
        if result.status == "infeasible":
            return _none(fixed, f"no plan exists with up to {asked.max_gpus} GPUs (proven)")
        if result.plan is None:
            return Completion(fixed.name, "undecided", "not decided in time", bound=result.bound)
        figures = evaluate_any(asked, result.plan)
        return _written(fixed, result.plan, figures, status=result.status, bound=result.bound)

    def _described(
        self, fixed: Fixed, deployment: Deployment, chain: Chain, *, status: Status, bound: int | None
    ) -> Completion:
        plan = plan_of(deployment, chain).model_copy(update={"instance_fingerprint": self.instance.fingerprint})
        figures = evaluate(deployment.instance, plan, deployment=deployment)
        return _written(fixed, plan, figures, status=status, bound=bound)


def _none(fixed: Fixed, sentence: str) -> Completion:
    return Completion(fixed.name, "infeasible", sentence)


def _written(fixed: Fixed, plan: Plan, figures: Evaluation, *, status: Status, bound: int | None) -> Completion:
    reached = CompletedFigures(figures.ttft / 1e9, figures.tpot / 1e6, figures.peak_memory)
    sentence = (
        f"{plan.gpus} {'GPU' if plan.gpus == 1 else 'GPUs'} in {_stages(plan)}, TTFT {reached.ttft_s:.4g} s, "
        f"peak memory {reached.peak_memory_bytes / 1e9:.4g} GB ({status})"
    )
    return Completion(fixed.name, status, sentence, plan.gpus, bound, plan, reached)


def _stages(plan: Plan) -> str:
    counts = {len(group.stages) for group in plan.parts}
    copies = f"{plan.replicas} replicas of " if plan.replicas > 1 and not plan.groups else ""
    if counts == {1}:
        return f"{copies}1 stage"
    return f"{copies}{min(counts)} stages" if len(counts) == 1 else f"{min(counts)} to {max(counts)} stages"
