"""Pools apart where requests keep coming: planned by Little's law, played, and bounded by a relaxation.

A plan is made of the fewest GPUs of each pool at one time per token. It is played with both pools and the link; a pool
whose limits it misses is planned anew for more: the prefill pool where first tokens are late, the decode pool where the
others are. What is given was played and keeps every limit; it is called optimal only where bound and plan meet.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from shardproof.formulations.apart.pace import GROWTH, Pace
from shardproof.formulations.apart.phases import FASTEST_TOKEN_NS, Tokens, pool_instance, slowest_allowed
from shardproof.instances.clock import now
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Pool
from shardproof.solver.apart.bound import Bound
from shardproof.solver.apart.terms import premises, status_of, transfers
from shardproof.solver.evaluation.engine_flags import engine_flags
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.groups import joined, pool_names
from shardproof.solver.open_loop.evaluated import SEEDS
from shardproof.solver.open_loop.judge import Judged, judged
from shardproof.solver.open_loop.shown import documents, sentences
from shardproof.solver.proof.evidence import Level
from shardproof.solver.result import Metrics, Result
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import Service, SimulationSettings
from shardproof.solver.solve import annotated, solve, versions

MOST_PLAYED = 32

PLAYED = (
    "pools apart of requests that keep coming: the bound holds for fleets whose replicas see the same mean time per "
    "token, and takes at least the prefill of its own prompt and the transfer for a first token",
    "a plan is given once it was played in the simulator, both pools and the link; a limit is kept where the 95 % "
    "interval keeps it (closed loops, one run: where the mean keeps it)",
)


def solve_steady(instance: Instance, settings: Settings) -> Result:
    """Find a plan of two pools for an instance whose requests keep coming, play it, and bound it."""
    started = now()
    give_up = None if settings.time_limit_s is None else started + settings.time_limit_s
    found = _Search(instance, settings, give_up).run() if instance.max_gpus > 1 else None
    enough = instance.max_gpus + 1 if found is None else found.plan.gpus
    bound, whole = Bound(instance, enough, give_up).find() if instance.max_gpus > 1 else (2, True)
    return _result(instance, found, bound, whole=whole, seconds=now() - started)


Replicas = Literal["free", "alike"]


@dataclass(frozen=True)
class _Candidate:
    """The answers of both pools at one time per token."""

    prefill: Result
    decode: Result

    @property
    def gpus(self) -> int:
        return (self.prefill.gpus or 0) + (self.decode.gpus or 0)

    @property
    def plan(self) -> Plan:
        assert self.prefill.plan is not None
        assert self.decode.plan is not None
        return joined(self.prefill.plan, self.decode.plan)


@dataclass(frozen=True)
class _Found:
    """A plan that keeps its limits in service."""

    pace: Pace
    candidate: _Candidate
    shown: Judged

    @property
    def plan(self) -> Plan:
        return self.shown.plan


@dataclass
class _Search:
    """Plans of both pools, planned for more until they keep their limits in service."""

    instance: Instance
    settings: Settings
    give_up: float | None
    _known: dict[str, Result] = field(default_factory=dict)
    _played: dict[Hashable, Judged] = field(default_factory=dict)
    _services: dict[int, Service] = field(default_factory=dict)

    def run(self) -> _Found | None:
        """Find a plan whose pools have replicas all alike; then let them differ where that saves GPUs."""
        found = self._climb("alike", [Pace(token) for token in self._tokens()])
        if found is None or self.instance.replicas == "alike":
            return found
        freer = self._climb("free", [found.pace], less_than=found.plan.gpus)
        return freer or found

    def _climb(self, replicas: Replicas, paces: list[Pace], less_than: int | None = None) -> _Found | None:
        """Play candidates, the fewest GPUs first; what misses a limit is planned for more."""
        plans = dict(self._candidates(replicas, paces))
        most = len(self._played) + MOST_PLAYED
        while len(self._played) < most and not (self.give_up is not None and now() > self.give_up):
            ready = [(found.gpus, pace) for pace, found in plans.items()]
            if not ready or (less_than is not None and min(ready)[0] >= less_than):
                return None
            pace = min(ready)[1]
            candidate = plans.pop(pace)
            shown = self._judged(candidate.plan)
            if shown.keeps_all:
                return _Found(pace, candidate, shown)
            plans |= self._raised(replicas, pace, candidate, shown)
        return None

    def _candidates(self, replicas: Replicas, paces: list[Pace]) -> Iterator[tuple[Pace, _Candidate]]:
        """Yield plans for ever faster tokens, until they need twice as many GPUs as the smallest."""
        fewest = 0
        for pace in paces:
            found = self._candidate(replicas, pace)
            if found is None and fewest:
                return
            if found is not None:
                fewest = min(fewest or found.gpus, found.gpus)
                if found.gpus > 2 * fewest:
                    return
                yield pace, found

    def _tokens(self) -> Iterator[Fraction]:
        slowest = token = Fraction(slowest_allowed(self.instance))
        while token > FASTEST_TOKEN_NS and token > slowest / 12:
            yield token
            token /= GROWTH

    def _raised(self, replicas: Replicas, pace: Pace, candidate: _Candidate, shown: Judged) -> dict[Pace, _Candidate]:
        """Plan those pools for more whose limits are missed (both, where one holds a request's whole time).

        Late first tokens are answered by more prefill, or by prefill that is faster.
        """
        missed = {verdict.limit_name.partition(" ")[0] for verdict in shown.verdicts if not verdict.kept}
        first, later = not missed <= {"tpot", "itl"}, not missed <= {"ttft"}
        found = self._changed(replicas, candidate, pace.raised(prefill=first, decode=later), first=first, later=later)
        if first:
            found |= self._changed(replicas, candidate, pace.raised(hurried=True), hurried=True)
        return found

    def _changed(
        self,
        replicas: Replicas,
        candidate: _Candidate,
        pace: Pace,
        *,
        first: bool = False,
        later: bool = False,
        hurried: bool = False,
    ) -> dict[Pace, _Candidate]:
        """Raise what a pace asks for until it gives another plan."""
        while not pace.is_beyond:
            found = self._candidate(replicas, pace)
            if found is None:
                break
            if found.plan != candidate.plan:
                return {pace: found}
            pace = pace.raised(prefill=first, decode=later, hurried=hurried)
        return {}

    def _candidate(self, replicas: Replicas, pace: Pace) -> _Candidate | None:
        """Fewest GPUs of each pool at a time per token and factors on their loads (``None``: a pool has no plan)."""
        first = self._solved(replicas, "prefill", Tokens(pace.token, pace.token, pace.prefill, hurry=pace.hurry))
        if first.plan is None:
            return None
        second = self._solved(replicas, "decode", Tokens(pace.token, pace.token, pace.decode))
        if second.plan is None or first.plan.gpus + second.plan.gpus > self.instance.max_gpus:
            return None
        return _Candidate(first, second)

    def _solved(self, replicas: Replicas, pool: Pool, tokens: Tokens) -> Result:
        asked = pool_instance(self.instance, pool, tokens).model_copy(update={"replicas": replicas})
        if asked.fingerprint not in self._known:
            plain = replace(self.settings, explain=False, certify=False, on_progress=None, floor=1)
            self._known[asked.fingerprint] = solve(asked, settings=plain)
        return self._known[asked.fingerprint]

    def _service(self, seeds: int) -> Service:
        if seeds not in self._services:
            settings = SimulationSettings(seeds=seeds, seed=self.settings.seed)
            self._services[seeds] = Service(self.instance, settings)
        return self._services[seeds]

    def _judged(self, plan: Plan) -> Judged:
        """Play a plan, once where one run is clear; one that was played before shows what it showed."""
        key = tuple(
            (group.pool, group.replicas, group.shares, tuple((stage.layers, stage.option) for stage in group.stages))
            for group in plan.groups
        )
        if key not in self._played:
            shown = judged(self.instance, plan, self._service(1))
            if all(verdict.kept or verdict.is_near for verdict in shown.verdicts):
                shown = judged(self.instance, plan, self._service(SEEDS))
            self._played[key] = shown
        return self._played[key]


def _result(instance: Instance, found: _Found | None, bound: int, *, whole: bool, seconds: float) -> Result:
    infeasible = found is None and bound > instance.max_gpus
    gpus = None if found is None else found.plan.gpus
    plan = None if found is None else _written(instance, found.plan)
    status = status_of(gpus, bound, infeasible=infeasible)
    return Result(
        status=status,
        proof="none" if status == "undecided" else "solver-claimed",
        gpus=gpus,
        bound=None if infeasible else bound,
        stop_reason="proved" if whole else "search-limit",
        metrics=None if found is None else _metrics(found),
        plan=plan,
        assumptions=(*instance.assumptions, *premises(instance), *PLAYED),
        instance_fingerprint=instance.fingerprint,
        versions=versions(),
        seconds=seconds,
        explanation=() if found is None else (*_sentences(found), *transfers(instance)),
        levels={"gpus": Level(gpus, None if infeasible else bound)},
        engine_flags=() if plan is None else engine_flags(instance, plan),
        service=() if found is None else tuple(documents(found.shown)),
        pools={} if found is None else {"prefill": found.candidate.prefill, "decode": found.candidate.decode},
    )


def _written(instance: Instance, plan: Plan) -> Plan:
    """Return the plan with memory and times of its stages, at the pace at which it runs."""
    groups = map(annotated, evaluate(instance, plan).groups)
    named = [group.model_copy(update={"pool": name}) for group, name in zip(groups, pool_names(plan), strict=True)]
    return plan.model_copy(update={"groups": tuple(named), "instance_fingerprint": instance.fingerprint})


def _metrics(found: _Found) -> Metrics:
    """Memory and utilisation of both pools' plans, with the times that the service showed."""
    first, second = found.candidate.prefill, found.candidate.decode
    assert first.metrics is not None
    assert second.metrics is not None
    seen, runs = found.shown.outcomes, found.shown.outcomes[0].throughput()
    parts = ((one.metrics, (one.gpus or 0) / found.plan.gpus) for one in (first, second))
    shares = [(metrics, share) for metrics, share in parts if metrics is not None]
    tpot = max(outcome.figure("tpot", None).value for outcome in seen) / 1e6
    return Metrics(
        ttft_s=max(outcome.figure("ttft", 99).value for outcome in seen) / 1e9,
        ttft_mean_s=max(outcome.figure("ttft", None).value for outcome in seen) / 1e9,
        ttft_first_s=first.metrics.ttft_first_s,
        tpot_ms=tpot,
        peak_memory_bytes=max(metrics.peak_memory_bytes for metrics, _ in shares),
        memory_utilisation=sum(metrics.memory_utilisation * share for metrics, share in shares),
        compute_utilisation=sum(metrics.compute_utilisation * share for metrics, share in shares),
        requests_per_s=runs["requests_per_s"],
        output_tokens_per_s=runs["output_tokens_per_s"],
        total_tokens_per_s=runs["output_tokens_per_s"] + runs["input_tokens_per_s"],
        output_tokens_per_s_per_gpu=runs["output_tokens_per_s"] / found.plan.gpus,
        output_tokens_per_s_per_user=1e3 / max(tpot, 1e-9),
    )


def _sentences(found: _Found) -> Iterator[str]:
    """Say what each pool takes, and which limit was kept by how much."""
    first, second = found.candidate.prefill.gpus or 0, found.candidate.decode.gpus or 0
    yield f"the prefill pool has {first} and the decode pool {second} of {first + second} GPUs"
    yield from sentences(found.shown)
