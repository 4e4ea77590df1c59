"""The fewest GPUs for requests that come by themselves: bounded shape by shape, and played before it is given.

`OpenSearch` bounds every shape of replicas (`shardproof.formulations.open_loop` has the formulas) and plays the most
promising ones. What is given was played and keeps every limit; it is called optimal only where bound and plan meet.
"""

from __future__ import annotations

from dataclasses import replace

from shardproof.formulations.engines.told import engine_assumptions
from shardproof.formulations.open_loop import without_open
from shardproof.instances.clock import now
from shardproof.instances.instance import Instance
from shardproof.solver.evaluation.engine_flags import engine_flags
from shardproof.solver.open_loop.evaluated import service_of
from shardproof.solver.open_loop.premises import premises
from shardproof.solver.open_loop.search import Found, OpenSearch
from shardproof.solver.open_loop.shown import documents, measured, sentences
from shardproof.solver.proof.evidence import Level
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import Service
from shardproof.solver.solve import solve, versions


def solve_open(instance: Instance, settings: Settings) -> Result:
    """Find a plan for an instance with open scenarios, bound it, and play it before it is given."""
    started = now()
    give_up = None if settings.time_limit_s is None else started + settings.time_limit_s
    service = service_of(instance, seed=settings.seed)
    floor = _others(instance, settings)
    if floor > instance.max_gpus:
        found = Found(None, floor, whole=True)
    else:
        found = OpenSearch(instance, service, floor=max(floor, settings.floor), give_up=give_up).run()
    return _result(instance, service, found, seconds=now() - started)


def _others(instance: Instance, settings: Settings) -> int:
    """GPUs that the scenarios that are bursts or closed loops need by themselves, at least."""
    others = without_open(instance)
    if others is None:
        return 1
    found = solve(others, settings=replace(settings, certify=False, explain=False, on_progress=None))
    return instance.max_gpus + 1 if found.status == "infeasible" else found.bound or 1


def _result(instance: Instance, service: Service, found: Found, *, seconds: float) -> Result:
    best, bound = found.best, found.bound
    infeasible = best is None and bound > instance.max_gpus and found.whole
    gpus = None if best is None else best.plan.gpus
    status = "infeasible" if infeasible else "undecided" if gpus is None else "optimal" if bound >= gpus else "feasible"
    plan, metrics = None, None
    flags: tuple[str, ...] = ()
    if best is not None:
        plan, metrics = measured(instance, best)
        flags = engine_flags(instance, plan)
    return Result(
        status=status,  # type: ignore[arg-type]
        proof="none" if status == "undecided" else "solver-claimed",
        gpus=gpus,
        bound=None if infeasible else min(bound, instance.max_gpus),
        stop_reason="proved" if found.whole else "time-limit",
        metrics=metrics,
        plan=plan,
        assumptions=(*instance.assumptions, *engine_assumptions(service.deployment.instance), *premises(instance)),
        instance_fingerprint=instance.fingerprint,
        versions=versions(),
        seconds=seconds,
        explanation=() if best is None else tuple(sentences(best)),
        levels={"gpus": Level(gpus, None if infeasible else bound)},
        engine_flags=flags,
        service=() if best is None else tuple(documents(best)),
    )
