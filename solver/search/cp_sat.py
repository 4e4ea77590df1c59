"""CP-SAT on the deployment program: cases left open by the exact search, the whole program, and confirmation.

Parameters follow what is known of release 9.15: ``presolve_inclusion_work_limit = 0`` (google/or-tools issue
5293, a wrong "optimal" on an all-linear model). Bounds are read as integers from the response, never from
the floating-point objective. Nothing found here leaves unchecked, and what it refutes alone is labelled a claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from ortools.sat.python import cp_model

from shardproof.formulations.deployment.chains import Chain, peak_memory, worst_ttft
from shardproof.formulations.deployment.constraints import GROUPS
from shardproof.formulations.deployment.objective import Level as ObjectiveLevel
from shardproof.formulations.deployment.objective import minimise
from shardproof.formulations.deployment.program import add_hint, build, cases_of, read_chain
from shardproof.formulations.deployment.tables import Case, Program
from shardproof.formulations.deployment.variables import Limits, Model
from shardproof.instances.clock import now
from shardproof.instances.errors import InternalError
from shardproof.solver.proof.evidence import Level
from shardproof.solver.search.outcome import Outcome
from shardproof.solver.search.query import Query, Unknown
from shardproof.solver.search.settings import Settings

SECOND_OPINION_S = 10.0
"""Seconds that a second solver may take to agree with what CP-SAT alone refuted."""

NAME = f"CP-SAT {version('ortools')}"


@dataclass(frozen=True)
class Claim:
    """What CP-SAT says of a query: a chain, or that there is none, or neither (out of time)."""

    chain: Chain | None
    refuted: bool
    solver: str


@dataclass(frozen=True)
class Found:
    """One level solved: a chain, the proven integer bound, and whether the solver finished."""

    chain: Chain | None
    bound: int | None
    finished: bool


def configured(settings: Settings) -> cp_model.CpSolver:
    """Return a solver with the parameters that every search uses."""
    solver = cp_model.CpSolver()
    solver.parameters.presolve_inclusion_work_limit = 0
    solver.parameters.random_seed = settings.seed
    solver.parameters.num_workers = settings.workers
    if settings.workers > 1:
        solver.parameters.interleave_search = True
    if settings.time_limit_s is not None:
        solver.parameters.max_time_in_seconds = settings.time_limit_s
    return solver


def solve_level(
    model: Model, level: ObjectiveLevel | None, settings: Settings, *, hint: Chain | None = None, at_least: int = 0
) -> Found:
    """Minimise one level of a model (``None``: any chain will do)."""
    if level is not None:
        minimise(model, level, at_least=at_least)
    if hint is not None:
        add_hint(model, hint)
    solver = configured(settings)
    status = solver.solve(model.solver_model)
    if status == cp_model.MODEL_INVALID:
        raise InternalError(f"CP-SAT rejects our model: {model.solver_model.validate()}")
    if status == cp_model.INFEASIBLE:
        return Found(None, None, finished=True)
    bound = int(solver.response_proto.inner_objective_lower_bound)
    if status == cp_model.UNKNOWN:
        return Found(None, max(bound, at_least), finished=False)
    chain = read_chain(model, solver)
    _check(model, chain)
    return Found(chain, max(bound, at_least), finished=status == cp_model.OPTIMAL)


def _check(model: Model, chain: Chain) -> None:
    """Every group judges a chain in plain integers (a floor model's chain only for its shape)."""
    for group in GROUPS[:2] if model.floor else GROUPS:
        broken = group.check(model.program, chain)
        if broken is not None:
            raise InternalError(f"CP-SAT returned a chain that breaks {broken}")


def decide_cases(
    program: Program, query: Query, unknown: Sequence[Unknown], *, floor: bool, settings: Settings
) -> Claim:
    """Decide a query on the cases that the exact search left open."""
    limits = Limits(min(query.gpus, program.max_gpus), query.ttft, query.memory)
    cases = [Case(program.layouts[item.layout], item.choices) for item in unknown]
    started, claimed = now(), f"claimed by {NAME}"
    for case in cases:
        left = _left(settings, started)
        if left is not None and left <= 0:
            return Claim(None, refuted=False, solver=claimed)
        found = solve_level(build(program, [case], limits, floor=floor), None, replace(settings, time_limit_s=left))
        if found.chain is not None or not found.finished:
            return Claim(found.chain, refuted=False, solver=claimed)
    if not floor:
        return Claim(None, refuted=True, solver=claimed)
    return Claim(None, refuted=True, solver=_agreed(program, cases, limits, settings, started) or claimed)


def _left(settings: Settings, started: float) -> float | None:
    return None if settings.time_limit_s is None else settings.time_limit_s - (now() - started)


def _agreed(program: Program, cases: Sequence[Case], limits: Limits, settings: Settings, started: float) -> str | None:
    """Ask a second solver about what CP-SAT alone refuted, as long as there is time."""
    from shardproof.solver.search.second_opinion import agreeing_solver

    names: dict[str, None] = {}
    for case in cases:
        left = _left(settings, started)
        limit = SECOND_OPINION_S if left is None else min(SECOND_OPINION_S, left / 2)
        other = agreeing_solver(build(program, [case], limits, floor=True), time_limit_s=limit) if limit > 0 else None
        if other is None:
            return None
        names[other] = None
    return f"agreed by {NAME} and {', '.join(names)}"


def confirm(program: Program, chain: Chain, settings: Settings) -> None:
    """Hold the program against a chain found elsewhere: its case must have a chain with as few GPUs.

    Raises
    ------
    InternalError
        If CP-SAT finds the case infeasible at that GPU count.
    """
    case = Case(program.layouts[chain.layout], chain.choices)
    gpus = chain.gpus(program)
    found = solve_level(build(program, [case], Limits(gpus)), "gpus", settings, hint=chain)
    if found.finished and found.chain is None:
        raise InternalError(f"CP-SAT refutes a case that has a plan of {gpus} GPUs")


def search_with_cp_sat(program: Program, settings: Settings) -> Outcome:
    """Solve the whole program, every case in one model, level by level, with CP-SAT alone."""
    outcome, started = Outcome(claimed_by=f"claimed by {NAME}"), now()
    cases = [
        case
        for layout in program.layouts
        if layout.replicas <= program.max_gpus
        for case in cases_of(layout)
        if any(program.options[o].gpus * layout.replicas <= program.max_gpus for o in case.allowed(program))
    ]
    limits = Limits(program.max_gpus)
    outcome.levels["gpus"] = Level(None, 1)
    if not cases:
        outcome.infeasible, outcome.levels["gpus"] = True, Level(None, None)
        return outcome
    levels: tuple[ObjectiveLevel, ...] = ("gpus", "ttft", "memory")
    for level in levels:
        left = None if settings.time_limit_s is None else settings.time_limit_s - (now() - started)
        if left is not None and left <= 0:
            outcome.stop_reason = "time-limit"
            return outcome
        model = build(program, cases, limits)
        found = solve_level(model, level, replace(settings, time_limit_s=left), hint=outcome.chain)
        if found.chain is None and found.finished:
            outcome.infeasible, outcome.levels["gpus"] = True, Level(None, None)
            return outcome
        outcome.chain = found.chain or outcome.chain
        value = None if outcome.chain is None else _value(program, outcome.chain, level)
        outcome.levels[level] = Level(value, found.bound)
        if not found.finished:
            outcome.stop_reason = "time-limit"
            return outcome
        if value is not None:
            limits = _tightened(limits, level, value)
    return outcome


def _value(program: Program, chain: Chain, level: ObjectiveLevel) -> int | None:
    if level == "gpus":
        return chain.gpus(program)
    return worst_ttft(program, chain, floor=False) if level == "ttft" else peak_memory(program, chain)


def _tightened(limits: Limits, level: ObjectiveLevel, value: int) -> Limits:
    if level == "gpus":
        return Limits(value, limits.ttft, limits.memory)
    return Limits(limits.gpus, value, limits.memory)
