"""Requests that come by themselves under any engine: the best of all that run on the device.

Each engine is asked for no more GPUs than the best so far takes: one that needs more is refuted there. The fewest
GPUs win, then the lowest 99th percentile of TTFT. A played service has an engine: no reading is free of its rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from shardproof.instances.clock import now
from shardproof.instances.engine import EngineName
from shardproof.instances.engine_choice import NAMED, runs_on, under_engine
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.solver.open_loop.solve import solve_open
from shardproof.solver.proof.evidence import Level
from shardproof.solver.result import EngineAnswer, Result
from shardproof.solver.search.settings import Settings


@dataclass(frozen=True)
class _Candidate:
    """An engine, the question under it, and its answer (``None``: why there is none)."""

    engine: EngineName
    asked: Instance | None
    result: Result | None
    note: str = ""

    @property
    def rank(self) -> tuple[float, float]:
        """What the best has least of."""
        if self.result is None or self.result.gpus is None or self.result.metrics is None:
            return float("inf"), float("inf")
        return self.result.gpus, self.result.metrics.ttft_s


def best_of_engines(instance: Instance, settings: Settings) -> Result:
    """Answer an open question under the engine that does with the fewest GPUs."""
    started, found = now(), list[_Candidate]()
    for engine in NAMED:
        best = min(found, key=lambda one: one.rank, default=None)
        most = instance.max_gpus if best is None or best.result is None else best.result.gpus or instance.max_gpus
        found.append(_candidate(instance, engine, settings, most, started))
    best = min(found, key=lambda one: one.rank)
    if best.result is None:  # no engine has an answer: the first that runs says why, or that none does
        best = next((one for one in found if one.result is not None), best)
    if best.result is None:
        return solve_open(instance, settings)
    return _of_all(instance, best, best.result, found, now() - started)


def _candidate(instance: Instance, engine: EngineName, settings: Settings, most: int, started: float) -> _Candidate:
    if not runs_on(instance, engine):
        return _Candidate(engine, None, None, f"does not run on {instance.device.name}")
    left = settings
    if settings.time_limit_s is not None:
        left = replace(settings, time_limit_s=max(0.0, settings.time_limit_s - (now() - started)))
    try:
        asked = under_engine(instance, engine)
        result = solve_open(asked.model_copy(update={"max_gpus": most}), left)
    except InputError as error:
        return _Candidate(engine, None, None, str(error))
    return _Candidate(engine, asked, result)


def _of_all(instance: Instance, best: _Candidate, result: Result, found: list[_Candidate], seconds: float) -> Result:
    """Make the answer under one engine the answer under any."""
    tried = [one for one in found if one.result is not None]
    bounds = [one.result.bound or _budget(one, result) + 1 for one in tried if one.result is not None]
    bound, whole = min(bounds), all(one.result.stop_reason == "proved" for one in tried if one.result is not None)
    status = result.status
    if status in ("optimal", "feasible"):
        status = "optimal" if whole and result.gpus is not None and bound >= result.gpus else "feasible"
    elif any(one.result.status == "undecided" for one in tried if one.result is not None):
        status = "undecided"
    infeasible = status == "infeasible"
    return replace(
        result,
        status=status,
        proof="none" if status == "undecided" else "solver-claimed",
        bound=None if infeasible else min(bound, result.gpus or instance.max_gpus),
        levels={**result.levels, "gpus": Level(result.gpus, None if infeasible else bound)},
        stop_reason="proved" if whole else "time-limit",
        instance_fingerprint=instance.fingerprint,
        plan=result.plan and result.plan.model_copy(update={"instance_fingerprint": instance.fingerprint}),
        seconds=seconds,
        engine=best.engine,
        engines=tuple(_entries(found, best, result)),
        question=best.asked,
    )


def _budget(one: _Candidate, best: Result) -> int:
    """GPUs that an engine without a plan was asked for: as many as the best takes, or all of the budget."""
    assert one.asked is not None
    return one.asked.max_gpus if best.gpus is None else best.gpus


def _entries(found: list[_Candidate], best: _Candidate, answer: Result) -> Iterator[EngineAnswer]:
    for one in found:
        result = one.result
        infeasible = result is not None and result.status == "infeasible"
        bound = None if result is None else _budget(one, answer) + 1 if infeasible else result.bound
        yield EngineAnswer(
            engine=one.engine,
            gpus=None if result is None else result.gpus,
            bound=None if infeasible and answer.gpus is None else bound,
            ttft_s=None if result is None or result.metrics is None else result.metrics.ttft_s,
            proof="none" if result is None else result.proof,
            chosen=one is best,
            note=one.note,
            instance=one.asked,
        )
