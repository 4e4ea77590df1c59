"""Load: what a benchmark has to send so that it measures a plan as it was planned."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from shardproof.instances.instance import Instance
from shardproof.instances.workload import Burst, ClosedLoop, OpenLoop, Scenario
from shardproof.solver.evaluation.engine_commands import served_name

ROUNDS = 5
"""Requests of a closed loop for each that is in flight: the first ones run beside emptier batches."""

FEWEST_OPEN = 1000
"""Requests that come by themselves: enough for a 99th percentile of ten."""


@dataclass(frozen=True)
class Load:
    """Requests of one scenario: ``concurrency`` in flight, or ``rate`` per second (``None``: the other way).

    ``cv``: coefficient of variation of the gaps between arrivals; limits in ms.
    """

    scenario: str
    model: str
    input_tokens: int
    output_tokens: int
    requests: int
    warm_up: int
    concurrency: int | None
    rate: float | None
    cv: float
    limits: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]


def loads_of(instance: Instance) -> tuple[Load, ...]:
    """Return the load of every scenario."""
    return tuple(_load(instance, scenario) for scenario in instance.scenarios)


def _load(instance: Instance, scenario: Scenario) -> Load:
    workload, stated = scenario.workload, scenario.limits
    limits = (("ttft", stated.ttft), ("tpot", stated.tpot), ("e2e", stated.e2e))
    concurrency = None if isinstance(workload, OpenLoop) else workload.requests
    rate = float(workload.rate) if isinstance(workload, OpenLoop) else None
    return Load(
        scenario=scenario.name,
        model=served_name(instance),
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        requests=_requests(scenario),
        warm_up=0 if isinstance(workload, Burst) else (concurrency or 10),
        concurrency=concurrency,
        rate=rate,
        cv=float(workload.arrival_cv) if isinstance(workload, OpenLoop) else 1.0,
        limits=tuple((name, limit / 1e6) for name, limit in limits if limit is not None),
        notes=tuple(_notes(scenario)),
    )


def _requests(scenario: Scenario) -> int:
    workload = scenario.workload
    if isinstance(workload, OpenLoop):
        return max(FEWEST_OPEN, ceil(60 * Fraction(workload.rate)))
    return workload.requests * (ROUNDS if isinstance(workload, ClosedLoop) else 1)


def _notes(scenario: Scenario) -> list[str]:
    workload, notes = scenario.workload, []
    if isinstance(workload, Burst):
        notes.append("all requests are sent at once, as the plan takes them; nothing is sent to warm the engine up")
    if isinstance(workload, OpenLoop) and (workload.input_lengths or workload.output_lengths or workload.trace):
        notes.append("lengths vary in the question; these lines send their means")
    if isinstance(workload, OpenLoop) and workload.prefix_cache_hit:
        notes.append("the question counts on cached prefixes; these lines send prompts that share none")
    return notes
