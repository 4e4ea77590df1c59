"""From a resolved question about pools to its answer: the fleet, its nodes, what holds when something is gone, a proof.

Capacities come from the exact search of single replicas, or from the instance's own table; both lead to the same
program, the same tree and the same checker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shardproof.formulations.pools.problem import Kind
from shardproof.instances.clock import now
from shardproof.instances.errors import InternalError
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.checkers import pools as checker
from shardproof.solver.pools.certificate import Evidence, PoolFacts, document
from shardproof.solver.pools.fleet_plans import fleet_plan, metrics_of
from shardproof.solver.pools.outcome import Asked, PoolsOutcome, PoolsSettings, Pursuit
from shardproof.solver.pools.played import LEAST_PLAYED, premises
from shardproof.solver.pools.programs import programs_of
from shardproof.solver.pools.rates_proof import proof_of_rates
from shardproof.solver.pools.result import FleetResult
from shardproof.solver.pools.steady_solve import solve_steady
from shardproof.solver.pools.told import UNITS, told_of
from shardproof.solver.pools.why import reasons
from shardproof.solver.pools.work import Work
from shardproof.solver.result import Proof, Status
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import versions

EXPLAINED_WITHIN_S = 5.0
"""Seconds that `solve` spends at most on what would allow a fleet, where there is none."""
LEFT_FOR_CHECKING = 0.2
"""Share of a time limit that must be left for the certificate to be written and checked."""


def solve_pools(question: PoolsQuestion, settings: Settings | None = None) -> FleetResult:
    """Find the fleet with the least objective (or the most load), and prove it.

    Raises
    ------
    CheckFailed
        If the checker refuses what was found (a fault of ours).
    """
    settings = settings or Settings()
    if not question.is_paced:
        return _solved(question, settings)
    return _explained(question, solve_steady(question, settings, _solved), settings)


def _explained(question: PoolsQuestion, found: FleetResult, settings: Settings) -> FleetResult:
    """Say what would allow a fleet, where there is none, in what is left of the time."""
    if found.status != "infeasible" or not settings.explain:
        return found
    limit = settings.time_limit_s
    left = EXPLAINED_WITHIN_S if limit is None else min(EXPLAINED_WITHIN_S, max(0.05, limit - found.seconds))
    return replace(found, explanation=reasons(question, found, left))


def _solved(question: PoolsQuestion, settings: Settings) -> FleetResult:
    started = now()
    told = told_of(question, settings)
    work = Work(question, settings, told=told)
    asked = Asked(work.base.demand, question.objective == "load", question.resolution)
    effort = PoolsSettings(settings.time_limit_s, settings.workers, settings.seed, told)
    found = work.found if work.is_played else None
    outcome = Pursuit(work.knowledge, asked, effort, work.realised, found).run()
    plan = None if outcome.fleet is None else fleet_plan(question, outcome.fleet, work.chosen)
    status = _status(outcome)
    late = work.end_at is not None and now() > work.end_at - LEFT_FOR_CHECKING * (settings.time_limit_s or 0)
    certify = settings.certify and not late and not work.is_played
    proof = _proof(outcome, evidence_of(question, asked, outcome, work) if certify else None)
    objective = question.objective
    scale = question.resolution if objective == "load" else UNITS[objective][1]
    result = FleetResult(
        status=status,
        proof=proof,
        objective=objective,
        value=outcome.value,
        bound=outcome.bound,
        certified_bound=None if work.is_played else outcome.certified,
        scale=scale,
        stop_reason="time-limit" if outcome.out_of_time or work.cut_short else "proved",
        metrics=None if plan is None else metrics_of(question, plan),
        plan=plan,
        assumptions=(*question.assumptions, *premises(question)),
        instance_fingerprint=question.fingerprint,
        versions=versions(),
        seconds=now() - started,
        explanation=(),
        asked=asked,
        outcome=outcome,
        work=work,
    )
    if work.is_played and outcome.value is not None and outcome.value == work.least_played and not asked.most_load:
        return replace(result, explanation=(LEAST_PLAYED,))
    return _explained(question, result, settings)


def evidence_of(question: PoolsQuestion, asked: Asked, outcome: PoolsOutcome, work: Work) -> Evidence:
    """Put together what stands behind an outcome: every table of every pool is computed for it."""
    from shardproof.solver.search.cp_sat import NAME

    facts: tuple[PoolFacts, ...]
    size = len(question.demand)
    if not work.pools:
        every = tuple(range(size))
        facts = tuple(
            PoolFacts(stock.name, at, every, (True,) * size, ((),) * size) for at, stock in enumerate(question.offers)
        )
        return Evidence(question.fingerprint, asked, facts, outcome, {}, {}, f"claimed by {NAME}")
    facts = tuple(
        PoolFacts(
            asked_pool.name,
            pool.offer,
            asked_pool.places,
            (bool(pool.deployment.options),) * len(pool.counts),
            tuple(places[1:] for places in pool.counts),
        )
        for asked_pool, pool in zip(question.pools, work.pools, strict=True)
    )
    chains: dict[Kind, dict[str, Any]] = {}
    programs = programs_of(work.pools, work.chosen, outcome, chains)
    return Evidence(question.fingerprint, asked, facts, outcome, programs, chains, f"claimed by {NAME}")


def blank_document(question: PoolsQuestion) -> dict[str, Any]:
    """Return what a certificate says of a question before anything is searched."""
    work = Work(question, Settings())
    asked = Asked(work.base.demand, question.objective == "load", question.resolution)
    outcome = PoolsOutcome(None, None, None, None, work.base, None, claimed=False, out_of_time=False)
    facts = evidence_of(question, asked, outcome, work)
    found = document(replace(facts, programs={}))
    return {key: value for key, value in found.items() if key not in ("plan", "claim")}


def _status(outcome: PoolsOutcome) -> Status:
    if outcome.fleet is None:
        return "infeasible" if outcome.infeasible else "undecided"
    return "optimal" if outcome.bound == outcome.value and (outcome.tree or outcome.claimed) else "feasible"


def _proof(outcome: PoolsOutcome, evidence: Evidence | None) -> Proof:
    """Say what the checker accepted, or who says so."""
    if outcome.fleet is None and not outcome.infeasible:
        return "none"
    if evidence is not None and outcome.tree is not None and not unproven(evidence.programs):
        raw = json.dumps(document(evidence)).encode()
        try:
            checker.check(raw)
        except checker.CheckError as error:
            raise InternalError(f"the checker rejects our own certificate: {error}") from None
        if outcome.fleet is None or outcome.certified == outcome.value:
            return "certified-optimal"
        return "solver-claimed" if outcome.bound == outcome.value else "certified-gap"
    return "solver-claimed"


def unproven(programs: Mapping[int, tuple[dict[str, Any], list[dict[str, Any]]]]) -> bool:
    """Whether some refused load has no trees: a solver's claim."""
    return any(wall["trees"] is None for _, walls in programs.values() for wall in walls)


def certificate_document(question: PoolsQuestion, result: FleetResult) -> dict[str, Any] | None:
    """Return the certificate of an answer; ``None`` where nothing was proved."""
    outcome = result.outcome
    if result.status == "undecided" or question.is_paced or (outcome.tree is None and outcome.fleet is None):
        return None
    proof = proof_of_rates(result.asked, outcome, result.work) if result.work.is_played else None
    if result.work.is_played and proof is None:
        return None
    evidence = evidence_of(question, result.asked, outcome if proof is None else proof.outcome, result.work)
    evidence = evidence if proof is None else replace(evidence, rates=proof.facts)
    return None if unproven(evidence.programs) else document(evidence)
