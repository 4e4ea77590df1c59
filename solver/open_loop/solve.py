"""The fewest GPUs for requests that come by themselves: bounded by a relaxation, found by playing.

The bound splits the mean times per token into intervals (`surrogate`): an interval whose relaxation needs no fewer
GPUs than the best plan is closed, the others are halved. Plans come from the same closed loops at single times per
token; the cheapest is played, and where it misses a limit the rate that it is planned for is raised. What is given was
played and keeps every limit; it is called optimal only where bound and plan meet.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from heapq import heappop, heappush

from shardproof.formulations.open_loop import (
    FASTEST_TOKEN_NS,
    SLOWEST_TOKEN_NS,
    closed,
    needs_of,
    slowest_token,
)
from shardproof.instances.instance import Instance
from shardproof.instances.workload import OpenLoop
from shardproof.solver.analysis.limiting import fewest_gpus
from shardproof.solver.open_loop.judge import Judged, judged
from shardproof.solver.problem import deployment_of
from shardproof.solver.proof.evidence import Level
from shardproof.solver.result import Metrics, Result
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import SimulationSettings
from shardproof.solver.solve import solve, versions

GROWTH = Fraction(3, 2)
"""Step between the times per token at which plans are looked for."""
FINEST = Fraction(103, 100)
"""Intervals of times per token are not halved below this ratio."""
MOST_INTERVALS = 32
RAISES = (1, Fraction(11, 10), Fraction(5, 4), Fraction(3, 2), 2, 3, 4)
"""Factors on the rate that plans are made for, until one keeps its limits in service."""
SEEDS = 5

PREMISES = (
    "requests that come by themselves: the bound holds for fleets whose replicas see the same mean time per token",
    "the plan was played in the simulator, over independent runs; a limit is kept where the 95 % interval keeps it",
)


def _premises(instance: Instance) -> tuple[str, ...]:
    """Return what the answer rests on; without a limit on the time per token, the longest that was considered."""
    scenarios = [item for item in instance.scenarios if isinstance(item.workload, OpenLoop)]
    if all(needs_of(scenario).tpot is not None for scenario in scenarios):
        return PREMISES
    longest = f"no mean time per token above {SLOWEST_TOKEN_NS // 10**6} ms is considered: no limit on tpot is given"
    return (*PREMISES, longest)


def solve_open(instance: Instance, settings: Settings) -> Result:
    """Find a plan for an instance with open scenarios, bound it, and play it before it is given."""
    started = time.monotonic()
    give_up = None if settings.time_limit_s is None else started + settings.time_limit_s
    found = _first_that_keeps(instance, settings, give_up)
    most = instance.max_gpus + 1 if found is None else found[0].plan.gpus
    bound, whole = lower_bound(instance, most, give_up)
    return _result(instance, found, bound, whole=whole, seconds=time.monotonic() - started)


def lower_bound(instance: Instance, enough: int, give_up: float | None = None) -> tuple[int, bool]:
    """Return the fewest GPUs that any mean time per token allows (at most ``enough``), and whether that is all."""
    open_: list[tuple[int, Fraction, Fraction]] = [(0, Fraction(FASTEST_TOKEN_NS), Fraction(slowest_token(instance)))]
    looked = 0
    while open_:
        least, low, high = heappop(open_)
        if least >= enough:
            return enough, True
        if looked >= MOST_INTERVALS or high / low <= FINEST or (give_up is not None and time.monotonic() > give_up):
            return max(1, least), False
        for start, stop in _parts(low, high, first=looked == 0):
            looked += 1
            needed = fewest_gpus(deployment_of(closed(instance, fastest=start, slowest=stop)))
            heappush(open_, (enough if needed is None else min(needed, enough), start, stop))
    return enough, True


def _parts(low: Fraction, high: Fraction, *, first: bool) -> Iterator[tuple[Fraction, Fraction]]:
    """Split an interval: the first into steps that fall by a half, every other in the middle of its ratio."""
    if not first:
        middle = Fraction(round(float(low * high) ** 0.5))
        yield from ((low, middle), (middle, high))
        return
    stop = high
    while stop > low:
        start = max(low, stop / 2) if stop / 2 > low * 2 else low
        yield start, stop
        stop = start


def _first_that_keeps(instance: Instance, settings: Settings, give_up: float | None) -> tuple[Judged, Result] | None:
    """Return the cheapest plan that keeps its limits in service, made for as small a rate as does it."""
    for factor in RAISES:
        for candidate in _candidates(instance, Fraction(factor), settings):
            assert candidate.plan is not None
            shown = judged(instance, candidate.plan, SimulationSettings(seeds=SEEDS, seed=settings.seed))
            if shown.keeps_all:
                return shown, candidate
        if give_up is not None and time.monotonic() > give_up:
            return None
    return None


def _candidates(instance: Instance, rate: Fraction, settings: Settings) -> list[Result]:
    """Plans of the fewest GPUs over times per token, at most three, the fastest first."""
    found: list[Result] = []
    slowest = Fraction(slowest_token(instance))
    plain = replace(settings, explain=False, certify=False, on_progress=None)
    best = instance.max_gpus
    token = slowest
    while token > FASTEST_TOKEN_NS and token > slowest / 40:
        asked = closed(instance, fastest=token, slowest=token, rate=rate)
        result = solve(asked.model_copy(update={"max_gpus": best}), settings=plain)
        if result.plan is not None and result.gpus is not None:
            best = min(best, result.gpus)
            found.append(result)
        elif found:
            break
        token /= GROWTH
    cheapest = [item for item in found if item.gpus == best]
    return list(reversed(cheapest))[:3]


def _result(
    instance: Instance, found: tuple[Judged, Result] | None, bound: int, *, whole: bool, seconds: float
) -> Result:
    infeasible = found is None and bound > instance.max_gpus
    gpus = None if found is None else found[0].plan.gpus
    shown, base = found or (None, None)
    plan = None if shown is None else shown.plan.model_copy(update={"instance_fingerprint": instance.fingerprint})
    status = "infeasible" if infeasible else "undecided" if gpus is None else "optimal" if bound >= gpus else "feasible"
    return Result(
        status=status,  # type: ignore[arg-type]
        proof="none" if status == "undecided" else "solver-claimed",
        gpus=gpus,
        bound=None if infeasible else bound,
        stop_reason="proved" if whole else "time-limit",
        metrics=None if base is None or shown is None else _metrics(base, shown),
        plan=plan,
        assumptions=(*instance.assumptions, *_premises(instance)),
        instance_fingerprint=instance.fingerprint,
        versions=versions(),
        seconds=seconds,
        explanation=() if shown is None else tuple(_sentences(shown)),
        levels={"gpus": Level(gpus, None if infeasible else bound)},
        engine_flags=() if base is None else base.engine_flags,
        service=() if shown is None else tuple(_service(shown)),
    )


def _metrics(base: Result, shown: Judged) -> Metrics:
    """Figures of a plan with the latencies that its service showed: p99 and mean of TTFT, mean of TPOT."""
    assert base.metrics is not None
    seen = shown.outcomes
    served = {
        "ttft_s": max(outcome.figure("ttft", 99).value for outcome in seen) / 1e9,
        "ttft_mean_s": max(outcome.figure("ttft", None).value for outcome in seen) / 1e9,
        "tpot_ms": max(outcome.figure("tpot", None).value for outcome in seen) / 1e6,
    }
    return base.metrics.model_copy(update=served)


def _sentences(shown: Judged) -> Iterator[str]:
    for verdict in shown.verdicts:
        if verdict.limit_name == "goodput":
            good = f"{verdict.found.low:.2%} of the requests or more are good"
            yield f"{verdict.scenario}: {good}, limit {verdict.limit:.2%}"
        else:
            low, high = verdict.found.low / 1e6, verdict.found.high / 1e6
            yield (
                f"{verdict.scenario}: {verdict.limit_name} in service {verdict.found.value / 1e6:.4g} ms"
                f" ({low:.4g} to {high:.4g}), limit {verdict.limit / 1e6:.4g} ms"
            )


def _service(shown: Judged) -> Iterator[dict[str, object]]:
    """Documents of the played scenarios, without their course over time."""
    for outcome in shown.outcomes:
        document = outcome.to_json()
        document.pop("over_time")
        yield document
