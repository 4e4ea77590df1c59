"""The one answer where prefill and decode may be apart: together, apart, or replicas of both phases beside pools.

Bursts under `any`, or under no named engine, are questions about pools too (`fleet_question`): their program knows
every mix, so that its certificate says that none has fewer GPUs. Both pure ways are answered in full beside it, with
their shapes and latencies; a mix is given where it has fewer GPUs than either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from shardproof.formulations.apart.phases import as_together, check_apart, is_steady
from shardproof.instances.clock import now
from shardproof.instances.errors import InputError, InternalError
from shardproof.instances.instance import Instance
from shardproof.instances.units import format_gpus
from shardproof.solver.apart.fleets import fleet_question, one_plan, readings
from shardproof.solver.apart.solve import cheaper, compared, nothing, solve_burst
from shardproof.solver.apart.steady import solve_steady
from shardproof.solver.apart.terms import premises, status_of
from shardproof.solver.evaluation.engine_flags import engine_flags
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.pools.result import FleetResult
from shardproof.solver.pools.solve import certificate_document, solve_pools
from shardproof.solver.proof.evidence import Level, StopReason
from shardproof.solver.result import EngineAnswer, Proof, Result
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import metrics_of, versions

Together = Callable[[Instance, Settings], Result]
"""Answers a question where prefill and decode are on one replica."""

EITHER = (
    "serving any, requests that keep coming to one device: all replicas serve both phases, or all serve one; devices: "
    "with one entry asks for mixes too"
)
ALIKE = "serving any, replicas alike: all replicas serve both phases, or all of each pool are alike; no mix of both"

SHARES = {"apart": 0.5, "together": 0.4, "mix": 0.6}
"""Part of the time that is left which each search takes, where time is limited; what comes last takes the rest."""


def solve_serving(instance: Instance, settings: Settings, together: Together) -> Result:
    """Answer an instance that allows prefill and decode to be apart; ``together`` answers it where they are not.

    Raises
    ------
    InputError
        If the question says too little for pools apart.
    """
    check_apart(instance)
    started = now()
    if is_steady(instance) or instance.replicas == "alike" or instance.max_gpus < 2:
        if instance.serving == "apart":
            return _pure(instance, settings)
        apart = _pure(instance, _part(settings, started, SHARES["apart"]))
        whole = together(as_together(instance), _part(settings, started, 1.0))
        said = EITHER if is_steady(instance) else ALIKE
        found = cheaper(instance, whole, apart, now() - started)
        return replace(found, assumptions=(*found.assumptions, *([said] if instance.max_gpus > 1 else [])))
    if instance.serving == "apart" and instance.engine != "any":
        return solve_burst(instance, settings)
    part = _part(settings, started, SHARES["together"])
    alone = together(as_together(instance), part) if instance.serving == "any" else None
    return _Mix(instance, settings, alone, started).answer()


def _part(settings: Settings, started: float, share: float) -> Settings:
    """Return the settings of one search of several: a part of the time that is left."""
    if settings.time_limit_s is None:
        return settings
    left = settings.time_limit_s - (now() - started)
    return replace(settings, time_limit_s=max(0.1, left * share))


def _pure(instance: Instance, settings: Settings) -> Result:
    if is_steady(instance):
        return solve_steady(instance, settings)
    return solve_burst(instance, settings) if instance.max_gpus > 1 else nothing(instance, 0.0)


@dataclass
class _Mix:
    """The answers to one burst: together in full (``None``: not allowed), and every mix under each engine."""

    instance: Instance
    settings: Settings
    together: Result | None
    started: float

    def answer(self) -> Result:
        """Give the fewest GPUs: together where it ties, else apart where it does, else a mix."""
        asked, fleets, notes = readings(self.instance), dict[str, FleetResult](), dict[str, str]()
        for engine, one in asked.items():
            try:
                share = SHARES["mix"] / (len(asked) - len(fleets) - len(notes))
                fleets[engine] = solve_pools(fleet_question(one), self._left(share))
            except InputError as error:
                notes[engine] = str(error)
        if not fleets:
            raise InputError("; ".join(notes.values()))
        best = min(fleets, key=lambda engine: (_gpus(fleets[engine]), list(asked).index(engine)))
        apart = solve_burst(asked[best], self._left(SHARES["apart"]))  # of each pool
        wins = self._wins(asked[best], fleets[best], apart)
        return self._put(asked, wins, apart, best, fleets, notes)

    def _left(self, share: float) -> Settings:
        quiet = replace(self.settings, explain=False, on_progress=None, floor=1)
        return _part(quiet, self.started, share)

    def _wins(self, asked: Instance, fleet: FleetResult, apart: Result) -> Result:
        """Return the answer of fewest GPUs; pure ways before a mix, since they are taken through all levels."""
        ways = [way for way in (self.together, apart) if way is not None and way.gpus is not None]
        least = min((way.gpus for way in ways if way.gpus is not None), default=None)
        if fleet.gpus is not None and (least is None or fleet.gpus < least):
            return _mixed(asked, fleet)
        return next((way for way in ways if way.gpus == least), apart)

    def _put(
        self,
        asked: Mapping[str, Instance],
        wins: Result,
        apart: Result,
        best: str,
        fleets: Mapping[str, FleetResult],
        notes: Mapping[str, str],
    ) -> Result:
        instance, any_engine = self.instance, self.instance.engine == "any"
        known = [_least(fleet, instance.max_gpus) for fleet in fleets.values()]
        bound, gpus = min(known), wins.gpus
        infeasible = bound > instance.max_gpus
        status = "infeasible" if infeasible else status_of(gpus, bound, infeasible=False)
        sure = all(fleet.proof.startswith("certified") for fleet in fleets.values())
        good: Proof = "certified-gap" if status == "feasible" else "certified-optimal"
        proof: Proof = "none" if status == "undecided" else good if sure else "solver-claimed"
        chosen = wins.engine if wins is self.together and wins.engine is not None else best
        pools = {} if self.together is None else {"together": self.together}
        return replace(
            wins,
            status=status,
            proof=proof,
            bound=None if infeasible else bound,
            stop_reason=self._stopped(fleets),
            plan=None
            if wins.plan is None
            else wins.plan.model_copy(update={"instance_fingerprint": instance.fingerprint}),
            assumptions=self._assumptions(apart),
            instance_fingerprint=instance.fingerprint,
            seconds=now() - self.started,
            explanation=(*self._sentences(wins, apart, fleets, chosen), *wins.explanation),
            levels={**wins.levels, "gpus": Level(gpus, None if infeasible else bound)},
            engine=chosen if any_engine else None,
            engines=tuple(_entries(fleets, notes, chosen, proof)) if any_engine else (),
            question=asked[chosen] if any_engine else None,
            pools=pools | dict(apart.pools),
            fleets=dict(_documents(fleets, asked, first=chosen)),
        )

    def _assumptions(self, apart: Result) -> tuple[str, ...]:
        own = () if self.together is None else self.together.assumptions
        return tuple(dict.fromkeys((*own, *apart.assumptions)))

    def _stopped(self, fleets: Mapping[str, FleetResult]) -> StopReason:
        reasons = [fleet.stop_reason for fleet in fleets.values()]
        reasons += [] if self.together is None else [self.together.stop_reason]
        return next((reason for reason in reasons if reason != "proved"), "proved")

    def _sentences(
        self, wins: Result, apart: Result, fleets: Mapping[str, FleetResult], chosen: str
    ) -> tuple[str, ...]:
        found = [] if self.together is None else [compared(self.together, apart)]
        if self.together is not None and wins is not self.together and wins is not apart:
            found = [f"{found[0]}; some of both: {format_gpus(wins.gpus or 0)}"]
        if len(fleets) > 1 and wins is not self.together:
            others = "; ".join(f"{_name(engine)}: {_said(fleet)}" for engine, fleet in fleets.items())
            found.append(f"engine any takes the best, {_name(chosen)}; the fewest GPUs of any mix are {others}")
        return tuple(found)


def _gpus(fleet: FleetResult) -> float:
    return float("inf") if fleet.gpus is None else fleet.gpus


def _least(fleet: FleetResult, most: int) -> int:
    """Fewest GPUs that a fleet is known to need; one more than there are where there is none."""
    return most + 1 if fleet.status == "infeasible" else max(1, fleet.bound or 1)


def _mixed(asked: Instance, fleet: FleetResult) -> Result:
    """Return a fleet's plan as the answer; times and bound are put right by what it stands beside."""
    assert fleet.plan is not None
    plan = one_plan(asked, fleet.plan)
    evaluation = evaluate(asked, plan)
    if evaluation.violations:
        raise InternalError(f"the plan found breaks {evaluation.violations[0]}")
    return Result(
        status=fleet.status,
        proof=fleet.proof,
        gpus=plan.gpus,
        bound=fleet.bound,
        stop_reason=fleet.stop_reason,
        metrics=metrics_of(asked, plan, evaluation),
        plan=plan,
        assumptions=(*asked.assumptions, *premises(asked)),
        instance_fingerprint=asked.fingerprint,
        versions=versions(),
        seconds=fleet.seconds,
        levels={"gpus": Level(plan.gpus, fleet.bound)},
        engine_flags=engine_flags(asked, plan),
    )


def _documents(
    fleets: Mapping[str, FleetResult], asked: Mapping[str, Instance], first: str
) -> list[tuple[str, dict[str, object]]]:
    """Certificates by engine, that of the chosen one first."""
    found = []
    for engine in sorted(fleets, key=lambda engine: engine != first):
        with suppress(InputError):
            document = certificate_document(fleet_question(asked[engine]), fleets[engine])
            if document is not None:
                found.append((engine, document))
    return found


def _entries(
    fleets: Mapping[str, FleetResult], notes: Mapping[str, str], chosen: str, proof: Proof
) -> list[EngineAnswer]:
    found = [
        EngineAnswer(
            engine=engine,
            gpus=fleet.gpus,
            bound=None if fleet.status == "infeasible" else fleet.bound,
            ttft_s=None if fleet.metrics is None else fleet.metrics.ttft_s,
            proof=proof if engine == chosen else fleet.proof,
            chosen=engine == chosen,
        )
        for engine, fleet in fleets.items()
    ]
    return [*found, *(EngineAnswer(engine, None, None, None, "none", False, note) for engine, note in notes.items())]


def _name(engine: str) -> str:
    return "free of an engine's rules" if engine == "any" else engine


def _said(fleet: FleetResult) -> str:
    if fleet.gpus is None:
        return "none" if fleet.status == "infeasible" else "not decided"
    return f"{fleet.gpus}" if fleet.bound == fleet.gpus else f"{fleet.gpus} (at least {fleet.bound})"
