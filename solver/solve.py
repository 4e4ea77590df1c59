"""From an instance to a proven result: fewest GPUs, then lowest TTFT, then lowest peak memory.

Each level is searched on ceiling tables (what is found is feasible in exact arithmetic) and bounded on floor
tables (what is refuted is impossible in exact arithmetic). The exact search over chains gives incumbents and
bounds; CP-SAT decides the cases that it leaves open, and is held against its answer. Every plan is evaluated
anew from the costs before it leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from formulations.deployment.build import Deployment
from formulations.deployment.plans import moved, plan_of
from formulations.deployment.tables import Chain, Program
from instances.errors import InternalError
from instances.instance import Instance
from instances.plan import Plan
from instances.workload import ClosedLoop
from solver.deployments import deployment_of
from solver.engine_flags import engine_flags
from solver.evaluate import Evaluation, ScenarioFigures, best_decode_microbatches, evaluate
from solver.limiting import engine_sentences, limit_sentences
from solver.prover import Answer, Interrupted, Objective, Prover, Query
from solver.refutation import Refutation
from solver.result import Evidence, Level, Metrics, Proof, Result, Status, StopReason

Search = Literal["auto", "both", "cp-sat"]
"""auto: exact search over chains, CP-SAT for cases that it leaves open; both: CP-SAT is also held against the
answer; cp-sat: CP-SAT alone on the whole program."""


@dataclass(frozen=True)
class Progress:
    """What a live line shows: best GPU count so far, proven bound, seconds since the start."""

    incumbent: int | None
    bound: int | None
    seconds: float
    level: str


@dataclass(frozen=True)
class Settings:
    """How to search.

    ``workers`` and ``seed`` are CP-SAT's; ``certify`` has the checker accept the proof; ``explain`` finds out
    which limits and engine rules keep the plan from fewer GPUs. ``floor`` is a number of GPUs known to be
    necessary: the search starts there, and its proof of the bound does not rely on it.
    """

    time_limit_s: float | None = None
    workers: int = 2
    seed: int = 0
    search: Search = "auto"
    certify: bool = True
    explain: bool = True
    floor: int = 1
    on_progress: Callable[[Progress], None] | None = None


EXPLAINED_WITHIN_S = 2.0
"""Seconds that `solve` spends at most on finding out which limits and rules matter."""

Limited = Callable[[Chain], tuple[Program, Chain]]
"""From a chain to the program of no more GPUs than it has, and the chain in that program."""


@dataclass
class Outcome:
    """What the search of one program has established so far; the chain is one of ``deployment``'s program."""

    deployment: Deployment | None = None
    chain: Chain | None = None
    infeasible: bool = False
    stop_reason: StopReason = "proved"
    claimed_by: str | None = None
    levels: dict[str, Level] = field(default_factory=dict)
    refutations: dict[str, Refutation] = field(default_factory=dict)


class LexicographicSearch:
    """Takes one program through the levels GPUs, TTFT and peak memory."""

    def __init__(self, program: Program, settings: Settings, *, limited: Limited | None = None) -> None:
        """Take the program and how to search it.

        ``limited`` gives, once the fewest GPUs are known, the program of that budget and the chain in it: all
        that is proved from there on concerns no more GPUs.
        """
        self.program, self.settings, self._limited = program, settings, limited
        self.started = time.monotonic()
        self.outcome = Outcome()
        self._level = "gpus"
        self._upper = Prover(program, floor=False, check_stop=self._check_stop)
        self._lower = Prover(program, floor=True, check_stop=self._check_stop)
        self.bound = 1

    def run(self) -> Outcome:
        """Search until proved, out of time or interrupted; what is known by then is kept."""
        try:
            self._fewest_gpus()
            if self.outcome.chain is not None:
                self._lowest("ttft")
                self._lowest("memory")
        except Interrupted:
            self.outcome.stop_reason = "time-limit"
        except KeyboardInterrupt:
            self.outcome.stop_reason = "interrupted"
        self._note_gpus()
        return self.outcome

    def _check_stop(self) -> None:
        limit = self.settings.time_limit_s
        if limit is not None and time.monotonic() - self.started > limit:
            raise Interrupted

    def _report(self) -> None:
        if self.settings.on_progress is not None:
            seconds = time.monotonic() - self.started
            self.settings.on_progress(Progress(self._gpus(), self.bound, seconds, self._level))

    def _gpus(self) -> int | None:
        return None if self.outcome.chain is None else self.outcome.chain.gpus(self.program)

    def _note_gpus(self) -> None:
        self.outcome.levels["gpus"] = Level(self._gpus(), None if self.outcome.infeasible else self.bound)

    def _decide(self, prover: Prover, query: Query) -> tuple[Chain | None, Refutation | None]:
        """Decide a query; cases that the exact search leaves open go to CP-SAT."""
        answer = prover.decide(query)
        if answer.chain is not None or not answer.unknown:
            return answer.chain, answer.refutation
        from solver.search import decide_cases

        claim = decide_cases(self.program, query, answer.unknown, floor=prover.floor, settings=self._remaining())
        self.outcome.claimed_by = claim.solver
        if claim.chain is None and not claim.refuted:
            self.outcome.stop_reason = "time-limit"
            raise Interrupted
        return claim.chain, None

    def _remaining(self) -> Settings:
        limit = self.settings.time_limit_s
        left = None if limit is None else max(0.1, limit - (time.monotonic() - self.started))
        return replace(self.settings, time_limit_s=left)

    def _fewest_gpus(self) -> None:
        """Raise the budget in doubling steps until a chain fits, then halve the gap and prove the bound."""
        most = self.program.max_gpus
        self.bound = tried = max(1, min(most, self.settings.floor))
        step = 1
        while self.outcome.chain is None:
            chain, _ = self._decide(self._upper, Query(gpus=tried))
            if chain is not None:
                self.outcome.chain = chain
            elif tried >= most:
                self._prove_infeasible(most)
                return
            else:
                self.bound = tried + 1
                tried, step = min(most, tried + step), 2 * step
            self._report()
        while self.bound < (self._gpus() or 0):
            middle = (self.bound + (self._gpus() or 0) - 1) // 2
            chain, _ = self._decide(self._upper, Query(gpus=middle))
            if chain is not None:
                self.outcome.chain = chain
            else:
                self.bound = middle + 1
            self._report()
        if self._limited is not None:
            self._shrink(self._limited)
        self._prove_bound()

    def _shrink(self, limited: Limited) -> None:
        assert self.outcome.chain is not None
        self.program, self.outcome.chain = limited(self.outcome.chain)
        self._upper = Prover(self.program, floor=False, check_stop=self._check_stop)
        self._lower = Prover(self.program, floor=True, check_stop=self._check_stop)

    def _prove_infeasible(self, most: int) -> None:
        chain, refutation = self._decide(self._lower, Query(gpus=most))
        if chain is None:
            self.outcome.infeasible = True
            if refutation is not None:
                self.outcome.refutations["gpus"] = refutation
        else:
            self.bound = chain.gpus(self.program)
            self._prove_bound()

    def _prove_bound(self) -> None:
        """Refute fewer GPUs on floor tables; rounding may cost the bound something, which is then published."""
        while self.bound > 1:
            chain, refutation = self._decide(self._lower, Query(gpus=self.bound - 1))
            if chain is None:
                if refutation is not None:
                    self.outcome.refutations["gpus"] = refutation
                return
            self.bound = chain.gpus(self.program)

    def _lowest(self, objective: Objective) -> None:
        """Lower one objective at the fewest GPUs, and bound it on floor tables."""
        outcome, chain = self.outcome, self.outcome.chain
        assert chain is not None
        self._level = objective
        query = Query(gpus=chain.gpus(self.program))
        if self._upper.value(objective, chain) is None:
            return
        if objective == "memory":
            query = replace(query, ttft=self._upper.value("ttft", chain))
        relaxed = self._lower.least(query, objective, chain)
        assert relaxed.chain is not None
        if relaxed.chain is not chain and self._accepts(relaxed.chain, query):
            outcome.chain = relaxed.chain
        elif relaxed.chain is not chain:
            found = self._upper.least(query, objective, chain)
            outcome.chain = found.chain
        assert outcome.chain is not None
        outcome.levels[objective] = Level(self._upper.value(objective, outcome.chain), None)
        self._report()
        if relaxed.unknown:
            return
        self._bound_level(objective, query, relaxed)

    def _accepts(self, chain: Chain, query: Query) -> bool:
        """Whether a chain found on floor tables keeps every limit on ceiling tables too."""
        from formulations.deployment.check import broken_row

        within = query.ttft is None or (self._upper.value("ttft", chain) or 0) <= query.ttft
        return within and broken_row(self.program, chain) is None

    def _bound_level(self, objective: Objective, query: Query, relaxed: Answer) -> None:
        """Refute everything below the least value on floor tables."""
        assert relaxed.chain is not None
        lowest = self._lower.value(objective, relaxed.chain)
        if lowest is None:
            return
        refutation = relaxed.refutation
        if refutation is None:
            below = self._lower.below(query, objective, relaxed.chain)
            answer = self._lower.decide(below)
            if answer.chain is not None:
                raise InternalError(f"{objective} below its proven bound")
            refutation = answer.refutation
        if refutation is not None:
            self.outcome.refutations[objective] = refutation
            value = self.outcome.levels[objective].value
            self.outcome.levels[objective] = Level(value, lowest)


def solve(instance: Instance, *, settings: Settings | None = None) -> Result:
    """Find the plan with the fewest GPUs for an instance, and prove it.

    Raises
    ------
    CheckFailed
        If the plan found fails its own check (a fault of ours).
    """
    settings = settings or Settings()
    started = time.monotonic()
    deployment = deployment_of(instance)
    outcome = _search(deployment, settings)
    return _result(instance, deployment, outcome, settings, started)


def _search(deployment: Deployment, settings: Settings) -> Outcome:
    if not deployment.options:
        return Outcome(deployment, infeasible=True, levels={"gpus": Level(None, None)})
    if settings.search == "cp-sat":
        from solver.search import search_with_cp_sat

        outcome = search_with_cp_sat(deployment.program, settings)
        outcome.deployment = deployment
        return outcome
    held = [deployment]

    def limited(chain: Chain) -> tuple[Program, Chain]:
        held.append(deployment.limited(chain.gpus(deployment.program)))
        return held[-1].program, moved(chain, deployment.program, held[-1].program)

    outcome = LexicographicSearch(deployment.program, settings, limited=limited).run()
    outcome.deployment = held[-1]
    if settings.search == "both" and outcome.chain is not None:
        from solver.search import confirm

        confirm(held[-1].program, outcome.chain, settings)
    return outcome


def _result(instance: Instance, deployment: Deployment, outcome: Outcome, settings: Settings, started: float) -> Result:
    deployment = outcome.deployment or deployment
    plan, evaluation = None, None
    if outcome.chain is not None:
        plan, evaluation = finished_plan(deployment, outcome.chain)
        plan = plan.model_copy(update={"instance_fingerprint": instance.fingerprint})
    gpus = outcome.levels["gpus"]
    status = _status(outcome, gpus)
    evidence = Evidence(deployment.program, outcome.chain, outcome.levels, outcome.refutations, outcome.claimed_by)
    return Result(
        status=status,
        proof=_proof(status, outcome, evidence, instance, settings),
        gpus=gpus.value,
        bound=gpus.bound,
        stop_reason=outcome.stop_reason,
        metrics=None if plan is None or evaluation is None else metrics_of(instance, plan, evaluation),
        plan=plan,
        assumptions=deployment.instance.assumptions,
        instance_fingerprint=instance.fingerprint,
        versions=versions(),
        seconds=time.monotonic() - started,
        explanation=_explanation(deployment, status, gpus, settings),
        engine_flags=() if plan is None else engine_flags(instance, plan),
        levels=outcome.levels,
        evidence=evidence,
    )


def _explanation(deployment: Deployment, status: Status, gpus: Level, settings: Settings) -> tuple[str, ...]:
    if not settings.explain or not deployment.options or status not in ("optimal", "infeasible"):
        return ()
    stop_at = time.monotonic() + EXPLAINED_WITHIN_S
    sentences: tuple[str, ...] = ()
    for find in (limit_sentences, engine_sentences):
        try:
            sentences += find(deployment, gpus.value, stop_at)
        except Interrupted:
            sentences += (f"more takes longer than {EXPLAINED_WITHIN_S:g} s: see `shardproof explain`",)
    return sentences


def _status(outcome: Outcome, gpus: Level) -> Status:
    if outcome.infeasible:
        return "infeasible"
    if outcome.chain is None:
        return "undecided"
    return "optimal" if gpus.proven else "feasible"


def _proof(status: Status, outcome: Outcome, evidence: Evidence, instance: Instance, settings: Settings) -> Proof:
    """Say what the checker accepted; without a refutation to check, what the solver claims."""
    gpus = outcome.levels["gpus"]
    if status == "undecided":
        return "none"
    needs_none = status != "infeasible" and gpus.bound == 1
    if not settings.certify or ("gpus" not in outcome.refutations and not needs_none):
        return "solver-claimed"
    from solver.certificate import accepted

    if not accepted(evidence, instance):
        raise InternalError("the checker rejects our own certificate")
    return "certified-optimal" if status in ("optimal", "infeasible") else "certified-gap"


def finished_plan(deployment: Deployment, chain: Chain) -> tuple[Plan, Evaluation]:
    """Write a chain as a plan with its figures, after checking it.

    Raises
    ------
    InternalError
        If the plan breaks a limit, or its figures differ from the program's.
    """
    instance, plan = deployment.instance, plan_of(deployment, chain)
    for place, scenario in enumerate(instance.scenarios):
        if scenario.limits.tpot is None and not isinstance(scenario.workload, ClosedLoop):
            item = plan.microbatches[place]
            count = best_decode_microbatches(deployment, plan, scenario)
            items = list(plan.microbatches)
            items[place] = item.model_copy(update={"decode_microbatches": count})
            plan = plan.model_copy(update={"microbatches": tuple(items)})
    evaluation = evaluate(instance, plan, deployment=deployment)
    if evaluation.violations:
        raise InternalError(f"the plan found breaks {evaluation.violations[0]}")
    return plan.model_copy(update={"stages": _annotated(plan, evaluation)}), evaluation


def _annotated(plan: Plan, evaluation: Evaluation) -> tuple[object, ...]:
    figures = evaluation.scenarios[0].stages
    return tuple(
        stage.model_copy(update={"memory_bytes": found.memory_bytes, "time_ns": found.prefill_ns})
        for stage, found in zip(plan.stages, figures, strict=True)
    )


def metrics_of(instance: Instance, plan: Plan, evaluation: Evaluation) -> Metrics:
    """Figures of a plan; latencies of the worst scenario, utilisation of the first."""
    worst = max(evaluation.scenarios, key=lambda figures: figures.ttft)
    first = evaluation.scenarios[0]
    memory = sum(found.memory * stage.gpus for found, stage in zip(first.stages, plan.stages, strict=True))
    width = sum(stage.gpus for stage in plan.stages)
    return Metrics(
        ttft_s=evaluation.ttft / 1e9,
        ttft_mean_s=worst.ttft_mean / 1e9,
        ttft_first_s=worst.ttft_first / 1e9,
        tpot_ms=evaluation.tpot / 1e6,
        peak_memory_bytes=evaluation.peak_memory,
        memory_utilisation=memory / (width * instance.device.usable_memory),
        compute_utilisation=_compute_utilisation(first, plan),
    )


def _compute_utilisation(figures: ScenarioFigures, plan: Plan) -> float:
    """Share of GPU-time in which stages work: until the last first token, or over a closed loop's iteration."""
    loop = figures.is_loop
    times = [stage.iteration if loop else stage.prefill for stage in figures.stages]
    count = figures.decode_microbatches if loop else figures.prefill_microbatches
    busy = sum(time * stage.gpus for time, stage in zip(times, plan.stages, strict=True)) * count
    width = sum(stage.gpus for stage in plan.stages)
    return busy / (width * (figures.tpot if loop else figures.ttft))


def versions() -> dict[str, str]:
    """Versions of what the answer depends on."""
    found = {}
    for package in ("shardproof", "ortools", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
