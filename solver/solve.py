"""From an instance to a proven result: fewest GPUs, then lowest TTFT, then lowest peak memory.

The exact search (`shardproof.solver.search.lexicographic`) gives plan and proof, CP-SAT what it leaves open. Every
plan is evaluated anew from the costs before it leaves, and every certificate is accepted by the checker before it is
called one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.options import why_no_option
from shardproof.formulations.deployment.plans import moved, plan_of
from shardproof.formulations.engines.told import engine_assumptions
from shardproof.formulations.fleet.plans import plan_of_fleet
from shardproof.formulations.restrictions import restrictions_of
from shardproof.instances.clock import checked_by, now
from shardproof.instances.errors import InternalError
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan
from shardproof.instances.workload import Burst
from shardproof.solver.analysis.limiting import (
    alike_sentences,
    engine_sentences,
    limit_sentences,
    restriction_sentences,
    stopper,
)
from shardproof.solver.evaluation.decode_choice import best_decode_microbatches
from shardproof.solver.evaluation.engine_flags import engine_flags
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.figures import Evaluation, GroupFigures, ScenarioFigures
from shardproof.solver.problem import deployment_of
from shardproof.solver.proof.evidence import Evidence, Level
from shardproof.solver.result import Metrics, Proof, Result, Status
from shardproof.solver.search.fleet_search import FleetSearch, Least
from shardproof.solver.search.outcome import Outcome
from shardproof.solver.search.query import Interrupted
from shardproof.solver.search.refusals import Subject
from shardproof.solver.search.settings import Rival, Settings
from shardproof.solver.volumes import Volumes

EXPLAINED_WITHIN_S = 2.0
"""Seconds that `solve` spends at most on finding out which limits and rules matter."""


@dataclass(frozen=True)
class Search:
    """A question, what its search has found, and when it began."""

    instance: Instance
    deployment: Deployment
    outcome: Outcome
    started: float


def solve(instance: Instance, *, settings: Settings | None = None) -> Result:
    """Find the plan with the fewest GPUs for an instance under its engine, and prove it.

    ``any`` is here a plan free of an engine's rules; `shardproof.solver.answer` holds it against the named engines.

    Raises
    ------
    CheckFailed
        If the plan found fails its own check (a fault of ours).
    """
    settings = settings or Settings()
    finish_by = None if settings.time_limit_s is None else now() + settings.time_limit_s
    return result_of(search(instance, searching(settings)), settings, finish_by)


KEPT_SHARE, KEPT_AT_MOST_S = 0.1, 0.5
"""Share of a time limit, and seconds at most, that the search leaves for what follows it: bound, plan and check."""


def searching(settings: Settings) -> Settings:
    """Return how to search so that the whole answer keeps its time limit."""
    if settings.time_limit_s is None:
        return settings
    kept = min(KEPT_SHARE * settings.time_limit_s, KEPT_AT_MOST_S)
    return replace(settings, time_limit_s=settings.time_limit_s - kept)


def search(instance: Instance, settings: Settings) -> Search:
    """Search an instance."""
    return begin(instance, settings).finish(None)


@dataclass(frozen=True)
class Begun:
    """A search after its first level.

    ``gpus``: fewest GPUs of replicas all alike (``None``: none known). ``interrupted``: somebody wants it ended.
    """

    gpus: int | None
    interrupted: bool
    finish: Callable[[Rival | None], Search]
    """Takes it through all levels, as far as it can still beat a rival found meanwhile."""


def begin(
    instance: Instance, settings: Settings, *, rival: Rival | None = None, volumes: Volumes | None = None
) -> Begun:
    """Begin to search an instance; where no plan beats the ``rival``, that is proved and no more.

    ``volumes``: what volume says of the question under each engine, shared by the searches of all of them.
    """
    started = now()
    try:
        with checked_by(stopper(math.inf if settings.time_limit_s is None else started + settings.time_limit_s)):
            deployment = deployment_of(instance)
    except Interrupted:
        unplaced = _unplaced(instance, started)
        return Begun(None, interrupted=False, finish=lambda _: unplaced)
    settings = left_of(settings, started)
    if not deployment.options:
        nothing = Outcome(deployment, infeasible=True, levels={"gpus": Level(None, None)})
        return Begun(None, interrupted=False, finish=lambda _: Search(instance, deployment, nothing, started))
    held, engine = [deployment], instance.engine
    if volumes is None:
        volumes = Volumes.within(settings.time_limit_s, started, engines=[engine], asked=lambda _: instance)

    def limited(chain: Chain) -> tuple[Deployment, Chain]:
        held.append(deployment.limited(chain.gpus(deployment.program)))
        return held[-1], moved(chain, deployment.program, held[-1].program)

    mixed = deployment.instance.replicas == "free"
    least = Least(lambda: volumes.least(engine), lambda: volumes.when_due(engine))
    subject = Subject.of(deployment.instance) if mixed and settings.refusals is not None else None
    begun = FleetSearch(deployment, settings, limited=limited, mixed=mixed, rival=rival, least=least, subject=subject)

    def finish(other: Rival | None) -> Search:
        outcome = begun.finish(other)
        outcome.deployment = held[-1]
        if settings.search == "both":
            _compare(deployment, outcome, settings, started, other or rival)
        return Search(instance, held[-1], outcome, started)

    gpus = begun.begin()
    return Begun(gpus, interrupted=begun.outcome.stop_reason == "interrupted", finish=finish)


def left_of(settings: Settings, started: float) -> Settings:
    """Return how to search in what is left of the time."""
    if settings.time_limit_s is None:
        return settings
    return replace(settings, time_limit_s=max(0.0, settings.time_limit_s - (now() - started)))


def _unplaced(instance: Instance, started: float) -> Search:
    """Return that nothing is known of a question whose experts were not placed by the time the limit was reached."""
    deployment = deployment_of(instance.model_copy(update={"load_profile": None}))
    return Search(
        instance, deployment, Outcome(deployment, stop_reason="time-limit", levels={"gpus": Level(None, 1)}), started
    )


def _compare(deployment: Deployment, outcome: Outcome, settings: Settings, started: float, rival: Rival | None) -> None:
    """Hold CP-SAT's own answer against the exact search's: GPUs, shapes, TTFT and memory, as far as both are known.

    Raises
    ------
    InternalError
        If they contradict each other.
    """
    left = None if settings.time_limit_s is None else settings.time_limit_s - (now() - started)
    if left is not None and left <= 0:
        return
    asked = replace(settings, search="cp-sat", time_limit_s=left, on_progress=None, refusals=None)
    other = FleetSearch(deployment, asked, mixed=deployment.instance.replicas == "free", rival=rival).run()
    if outcome.stop_reason == other.stop_reason == "proved" and outcome.infeasible != other.infeasible:
        raise InternalError(f"CP-SAT says {'no' if other.infeasible else 'a'} plan exists, the exact search does not")
    for name, level in outcome.levels.items():
        found = other.levels.get(name, Level(None, None))
        for bound, value in ((level.bound, found.value), (found.bound, level.value)):
            if bound is not None and value is not None and value < bound:
                raise InternalError(f"{name}: CP-SAT says {found}, the exact search {level}")
        if not found.proven or not level.proven:
            return


def evidence_of(found: Search) -> Evidence:
    """Return what a certificate of a search is made of."""
    outcome, deployment = found.outcome, found.deployment
    return Evidence(
        deployment.program,
        outcome.chain,
        outcome.levels,
        outcome.refutations,
        outcome.claimed_by,
        fleet=outcome.fleet,
        capacities=outcome.capacities,
        replicas=deployment.instance.replicas,
        infeasible=outcome.infeasible,
    )


def result_of(found: Search, settings: Settings, finish_by: float | None = None) -> Result:
    """Make a plan of what was found, check it and its proof, and say why it is no smaller.

    ``finish_by``: when the clock has passed it, what is not checked is claimed, and reasons are left out.
    """
    instance, deployment, outcome = found.instance, found.deployment, found.outcome
    plan, evaluation = None, None
    if outcome.fleet is not None:
        plan, evaluation = finished_plan(deployment, plan_of_fleet(deployment, outcome.fleet))
    elif outcome.chain is not None:
        plan, evaluation = finished_plan(deployment, plan_of(deployment, outcome.chain))
    if plan is not None:
        plan = plan.model_copy(update={"instance_fingerprint": instance.fingerprint})
    gpus = outcome.levels["gpus"]
    status = _status(outcome, gpus)
    evidence = evidence_of(found)
    return Result(
        status=status,
        proof=_proof(status, found, settings, finish_by),
        gpus=gpus.value,
        bound=gpus.bound,
        stop_reason=outcome.stop_reason,
        metrics=None if plan is None or evaluation is None else metrics_of(instance, plan, evaluation),
        plan=plan,
        assumptions=(
            *deployment.instance.assumptions,
            *engine_assumptions(deployment.instance),
            *restrictions_of(deployment.instance),
        ),
        instance_fingerprint=instance.fingerprint,
        versions=versions(),
        seconds=now() - found.started,
        explanation=_explanation(found, status, settings, finish_by),
        engine_flags=() if plan is None else engine_flags(instance, plan),
        levels=outcome.levels,
        evidence=evidence,
        engine=instance.engine,
    )


def _explanation(found: Search, status: Status, settings: Settings, finish_by: float | None) -> tuple[str, ...]:
    deployment, outcome = found.deployment, found.outcome
    if not deployment.options:
        return why_no_option(deployment.instance, deployment.rules)
    if not settings.explains(status) or status not in ("optimal", "infeasible"):
        return ()
    stop_at = min(now() + EXPLAINED_WITHIN_S, math.inf if finish_by is None else finish_by)
    gpus = outcome.levels["gpus"].value
    sentences = () if outcome.alike is None else restriction_sentences(gpus, outcome.alike)
    for find in (limit_sentences, alike_sentences, engine_sentences):
        try:
            with checked_by(stopper(stop_at)):
                sentences += find(deployment, gpus, stop_at)
        except Interrupted:
            return (*sentences, "further reasons take longer than there is time for: see `shardproof explain`")
    return sentences


def _status(outcome: Outcome, gpus: Level) -> Status:
    if outcome.infeasible:
        return "infeasible"
    if outcome.chain is None and outcome.fleet is None:
        return "undecided"
    return "optimal" if gpus.proven and outcome.stop_reason == "proved" else "feasible"


def _proof(status: Status, found: Search, settings: Settings, finish_by: float | None) -> Proof:
    """Say what the checker accepted; without a refutation to check, what the solver claims."""
    if status == "undecided":
        return "none"
    if not settings.certify or not _has_proof(found, evidence_of(found), finish_by):
        return "solver-claimed"
    return "certified-optimal" if status in ("optimal", "infeasible") else "certified-gap"


def is_certified(found: Search, finish_by: float | None = None) -> bool:
    """Whether the checker accepts the proof of how few GPUs a search has found to be needed."""
    evidence = evidence_of(found)
    levels = {name: level for name, level in evidence.levels.items() if name == "gpus"}
    return _has_proof(found, replace(evidence, levels=levels), finish_by)


def _has_proof(found: Search, evidence: Evidence, finish_by: float | None) -> bool:
    outcome = found.outcome
    needs_none = not outcome.infeasible and outcome.levels["gpus"].bound == 1
    behind = outcome.capacities.get("gpus") or outcome.refutations.get("gpus")
    if (behind is None and not needs_none) or any(one.trees is None for one in outcome.capacities.get("gpus", ())):
        return False
    left = None if finish_by is None else finish_by - now()
    if left is not None and left <= 0:
        return False
    from shardproof.solver.proof.certificate import accepted

    verdict = accepted(evidence, found.instance, within_s=left)
    if verdict is False:
        raise InternalError("the checker rejects our own certificate")
    return bool(verdict)


def finished_plan(deployment: Deployment, plan: Plan) -> tuple[Plan, Evaluation]:
    """Return a plan of the program with its figures and what the program leaves open, after checking it.

    Raises
    ------
    InternalError
        If the plan breaks a limit, or its figures differ from the program's.
    """
    instance = deployment.instance
    groups = tuple(_decoding(deployment, group) for group in plan.parts)
    plan = plan.with_parts(groups)
    evaluation = evaluate(instance, plan, deployment=deployment)
    if evaluation.violations:
        raise InternalError(f"the plan found breaks {evaluation.violations[0]}")
    return plan.with_parts(tuple(map(annotated, evaluation.groups))), evaluation


def _decoding(deployment: Deployment, group: Group) -> Group:
    """Return the group with the decode microbatches of bursts that have the lowest TPOT; limits hold a fortiori."""
    scenarios = {scenario.name: scenario for scenario in deployment.instance.scenarios}
    items = []
    for item in group.microbatches:
        scenario = scenarios[item.scenario]
        if isinstance(scenario.workload, Burst) and scenario.workload.phase != "prefill":
            count = best_decode_microbatches(deployment, group, scenario)
            items.append(item.model_copy(update={"decode_microbatches": count}))
        else:
            items.append(item)
    return group.model_copy(update={"microbatches": tuple(items)})


def annotated(figures: GroupFigures) -> Group:
    """Return the group with memory and times of every stage."""
    first = figures.scenarios[0]
    pairs, alone = zip(figures.group.stages, first.stages, strict=True), first.phase == "decode"
    stages = tuple(
        stage.model_copy(
            update={"memory_bytes": found.memory_bytes, "time_ns": found.decode_ns if alone else found.prefill_ns}
        )
        for stage, found in pairs
    )
    return figures.group.model_copy(update={"stages": stages})


def metrics_of(instance: Instance, plan: Plan, evaluation: Evaluation) -> Metrics:
    """Figures of a plan; latencies of the worst group and scenario, utilisation of each group's first scenario."""
    worst = max(evaluation.scenarios, key=lambda figures: figures.ttft)
    shares = [(found.group, found.scenarios[0]) for found in evaluation.groups]
    memory = sum(_memory(figures, group) * group.replicas for group, figures in shares)
    compute = sum(_compute_utilisation(figures, group) * group.gpus for group, figures in shares)
    return Metrics(
        ttft_s=evaluation.ttft / 1e9,
        ttft_mean_s=worst.ttft_mean / 1e9,
        ttft_first_s=worst.ttft_first / 1e9,
        tpot_ms=evaluation.tpot / 1e6,
        peak_memory_bytes=evaluation.peak_memory,
        memory_utilisation=memory / (plan.gpus * instance.device.usable_memory),
        compute_utilisation=compute / plan.gpus,
        **vars(evaluation.throughput()),
    )


def _memory(figures: ScenarioFigures, group: Group) -> int:
    """Bytes that one replica uses on all its GPUs."""
    return sum(found.memory * stage.gpus for found, stage in zip(figures.stages, group.stages, strict=True))


def _compute_utilisation(figures: ScenarioFigures, plan: Group) -> float:
    """Share of GPU-time in which stages work: until the last first token, or over a closed loop's iteration."""
    loop, alone = figures.is_loop and figures.phase != "prefill", figures.phase == "decode"
    times = [stage.iteration if loop else stage.decode if alone else stage.prefill for stage in figures.stages]
    count = figures.decode_microbatches if loop or alone else figures.prefill_microbatches
    busy = sum(time * stage.gpus for time, stage in zip(times, plan.stages, strict=True)) * count
    width = sum(stage.gpus for stage in plan.stages)
    return min(1.0, busy / (width * (figures.tpot if loop or alone else figures.ttft)))


def versions() -> dict[str, str]:
    """Versions of what the answer depends on."""
    import shardproof

    found = {"shardproof": shardproof.__version__}
    for package in ("ortools", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
