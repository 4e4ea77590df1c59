"""The one answer to any instance: under a named engine, under the best of all, or for requests that come by themselves.

Where no engine is named (``any``) the question is searched free of an engine's rules and under every engine that
runs on the device: for replicas that are all alike, then, what needs the fewest of them first, through all levels, each
with no more GPUs than the best plan so far. What needs more is refuted at that number. The answer is the plan of fewest
GPUs, then of the lowest TTFT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from shardproof.formulations.open_loop import is_open
from shardproof.instances.clock import now
from shardproof.instances.engine import EngineName
from shardproof.instances.engine_choice import NAMED, runs_on, under_engine
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.units import format_duration, format_gpus
from shardproof.solver.proof.evidence import Level
from shardproof.solver.result import EngineAnswer, Proof, Result
from shardproof.solver.search.refusals import Refusals
from shardproof.solver.search.settings import Rival, Settings
from shardproof.solver.solve import (
    Begun,
    Search,
    begin,
    evidence_of,
    is_certified,
    left_of,
    result_of,
    searching,
    solve,
)
from shardproof.solver.volumes import Volumes

FREE = "free of an engine's rules"
EVERY: tuple[EngineName, ...] = ("any", *NAMED)
"""Readings of a question that names no engine, in the order in which equal ones are preferred."""


def answer(instance: Instance, *, settings: Settings | None = None) -> Result:
    """Find the plan with the fewest GPUs for an instance of any kind of workload, under its engine or the best of all.

    Raises
    ------
    CheckFailed
        If the plan found fails its own check (a fault of ours).
    """
    settings = settings or Settings()
    if instance.serving != "together":
        from shardproof.solver.apart.serving import solve_serving

        return solve_serving(instance, settings, lambda asked, left: answer(asked, settings=left))
    if is_open(instance):
        return _served(instance, settings)
    return solve(instance, settings=settings) if instance.engine != "any" else _best(instance, settings)


def _served(instance: Instance, settings: Settings) -> Result:
    """Answer a question of requests that come by themselves."""
    from shardproof.solver.open_loop.engines import best_of_engines
    from shardproof.solver.open_loop.solve import solve_open

    if instance.engine != "any":
        return solve_open(instance, settings)
    result = best_of_engines(instance, settings)
    sentences = (_sentence(result.engines),) if settings.explains(result.status) and len(result.engines) > 1 else ()
    return replace(result, explanation=(*sentences, *result.explanation))


@dataclass(frozen=True)
class Candidate:
    """One reading of a question under any engine: what its search found, or why there is none.

    ``least``: GPUs that it needs at least, where it was not searched.
    """

    engine: EngineName
    found: Search | None
    note: str = ""
    least: int = 1

    @property
    def gpus(self) -> int | None:
        """GPUs of the best plan found."""
        return None if self.found is None else self.found.outcome.levels["gpus"].value

    @property
    def ttft(self) -> int | None:
        """TTFT of its slowest request in the program, ns."""
        level = None if self.found is None else self.found.outcome.levels.get("ttft")
        return None if level is None else level.value

    @property
    def bound(self) -> int | None:
        """Fewest GPUs that this engine can do with (``None``: it has no plan at all)."""
        if self.found is None:
            return None if self.note else self.least
        return None if self.found.outcome.infeasible else self.found.outcome.levels["gpus"].bound

    @property
    def rank(self) -> tuple[float, float]:
        """What the best has least of: GPUs, then TTFT."""
        return tuple(float("inf") if value is None else value for value in (self.gpus, self.ttft))  # type: ignore[return-value]


def _best(instance: Instance, settings: Settings) -> Result:
    started = now()
    finish_by = None if settings.time_limit_s is None else started + settings.time_limit_s
    asked = replace(searching(settings), refusals=settings.refusals or Refusals())
    volumes = _volumes(instance, asked, started)
    candidates = _candidates(instance, asked, volumes)
    best = min(candidates, key=lambda one: one.rank)
    assert best.found is not None
    result = result_of(best.found, settings, finish_by)
    return _of_all(instance, result, best, candidates, settings, started)


def _volumes(instance: Instance, settings: Settings, started: float) -> Volumes:
    """Return what volume says of each engine, once it is asked."""
    engines: tuple[EngineName, ...] = ("any", *(name for name in NAMED if runs_on(instance, name)))

    def asked(engine: EngineName) -> Instance:
        return instance if engine == "any" else under_engine(instance, engine)

    return Volumes.within(settings.time_limit_s, started, engines=engines, asked=asked)


def _candidates(instance: Instance, settings: Settings, volumes: Volumes) -> list[Candidate]:
    """Search a question free of an engine's rules and under each, as far as each can still be the best.

    What needs the fewest GPUs in replicas all alike goes through all levels first: the others are held against it.
    """
    started = now()
    begun: dict[EngineName, Begun] = {}
    done: dict[EngineName, Candidate] = {}
    for engine in EVERY:
        known = [one.gpus for one in begun.values() if one.gpus is not None]
        rival, left = Rival(min(known), None) if known else None, left_of(settings, started)
        if any(one.interrupted for one in begun.values()):
            left = replace(left, time_limit_s=0)
        first = _begun(instance, engine, left, rival, volumes)
        if isinstance(first, Begun):
            begun[engine] = first
        else:
            done[engine] = first
    best: Candidate | None = None
    for engine in sorted(begun, key=lambda engine: (begun[engine].gpus is None, begun[engine].gpus)):
        found = begun[engine].finish(_rival(best, engine))
        done[engine] = Candidate(engine, found, "" if found.deployment.options else _none_of(engine))
        if best is None or (*done[engine].rank, EVERY.index(engine)) < (*best.rank, EVERY.index(best.engine)):
            best = done[engine]
    return [done[engine] for engine in EVERY]


def _none_of(engine: EngineName) -> str:
    return "" if engine == "any" else "accepts no way to cut the model"


def _rival(best: Candidate | None, engine: EngineName) -> Rival | None:
    """Return what a candidate must beat: of two that are as good, the first of all stands."""
    if best is None or best.gpus is None:
        return None
    ahead = EVERY.index(engine) < EVERY.index(best.engine)
    return Rival(best.gpus, None if best.ttft is None else best.ttft + ahead)


def _begun(
    instance: Instance, engine: EngineName, settings: Settings, rival: Rival | None, volumes: Volumes
) -> Begun | Candidate:
    """Begin to search a question under one engine, as far as it can be better than the rival and there is time."""
    if engine == "any":
        return begin(instance, settings, volumes=volumes)
    if not runs_on(instance, engine):
        return Candidate(engine, None, f"does not run on {instance.device.name}")
    if settings.time_limit_s is not None and settings.time_limit_s <= 0:
        return Candidate(engine, None, least=max(settings.floor, volumes.least(engine)))
    try:
        return begin(under_engine(instance, engine), settings, rival=rival, volumes=volumes)
    except InputError as error:
        return Candidate(engine, None, str(error))


def _of_all(
    instance: Instance,
    result: Result,
    best: Candidate,
    candidates: list[Candidate],
    settings: Settings,
    started: float,
) -> Result:
    """Make the answer under one engine the answer under any."""
    bounds = [candidate.bound for candidate in candidates if candidate.bound is not None]
    bound, gpus = min(bounds, default=None), result.gpus
    finish_by = None if settings.time_limit_s is None else started + settings.time_limit_s
    engines = tuple(_entries(candidates, best, result, settings, finish_by))
    stopped = [one.found.outcome.stop_reason for one in candidates if one.found is not None]
    reason = next((why for why in stopped if why != "proved"), result.stop_reason)
    if any(one.found is None and not one.note for one in candidates) and reason == "proved":
        reason = "time-limit"
    status = result.status
    if status == "optimal" and (bound != gpus or reason != "proved"):
        status = "feasible"
    elif status == "infeasible" and bounds:
        status = "undecided"
    proof = _weakest(result.proof, status, engines)
    sentences = (_sentence(engines), *result.explanation) if settings.explains(status) and len(engines) > 1 else ()
    return replace(
        result,
        status=status,
        proof=proof,
        bound=bound,
        levels={**result.levels, "gpus": Level(gpus, bound)},
        stop_reason=reason,
        explanation=sentences or result.explanation,
        instance_fingerprint=instance.fingerprint,
        plan=result.plan and result.plan.model_copy(update={"instance_fingerprint": instance.fingerprint}),
        seconds=now() - started,
        engine=best.engine,
        engines=engines,
        question=None if best.found is None else best.found.instance,
    )


def _weakest(proof: Proof, status: str, engines: tuple[EngineAnswer, ...]) -> Proof:
    """Return what all candidates' proofs amount to."""
    if status == "undecided":
        return "none"
    if any(one.proof == "solver-claimed" for one in engines if not one.chosen):
        return "solver-claimed"
    return "certified-gap" if proof == "certified-optimal" and status == "feasible" else proof


def _entries(
    candidates: list[Candidate],
    best: Candidate,
    result: Result,
    settings: Settings,
    finish_by: float | None,
) -> Iterator[EngineAnswer]:
    for one in candidates:
        evidence = None if one.found is None else evidence_of(one.found)
        proof: Proof = result.proof
        if one is not best:
            proof = "none"
            if one.found is not None and one.found.deployment.options and one.bound != 1:
                known = settings.certify and is_certified(one.found, finish_by)
                proof = "solver-claimed" if not known else "certified-gap" if one.bound is None else "certified-optimal"
        yield EngineAnswer(
            engine=one.engine,
            gpus=one.gpus,
            bound=one.bound,
            ttft_s=None if one.ttft is None else one.ttft / 1e9,
            proof=proof,
            chosen=one is best,
            note=one.note,
            instance=None if one.found is None else one.found.instance,
            evidence=evidence,
        )


def _sentence(engines: tuple[EngineAnswer, ...]) -> str:
    """Say which engine was chosen, and what the others come to."""
    chosen = next(one for one in engines if one.chosen)
    others = "; ".join(f"{_name(one)}: {_said(one)}" for one in engines if one is not chosen)
    return f"engine any takes the best: {_name(chosen)}, {_said(chosen)} ({others})"


def _name(one: EngineAnswer) -> str:
    return FREE if one.engine == "any" else one.engine


def _said(one: EngineAnswer) -> str:
    if one.gpus is not None:
        speed = "no faster" if one.ttft_s is None else f"TTFT {format_duration(round(one.ttft_s * 1e9))}"
        return f"{format_gpus(one.gpus)}, {speed}"
    if one.note:
        return one.note
    if one.bound is None:
        return "no plan"
    return f"at least {one.bound} GPUs" if one.bound > 1 else "not decided in the time given"
