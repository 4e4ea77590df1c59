"""From an instance and a plan to a simulated service, scenario by scenario and seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, pairwise

from shardproof.formulations.deployment.build import Deployment
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.traffic.arrivals import generated
from shardproof.instances.traffic.trace import Request, Trace
from shardproof.instances.workload import ClosedLoop, Scenario
from shardproof.solver.problem import deployment_of
from shardproof.solver.simulation.fleet import Router, Seat, play_closed, play_open
from shardproof.solver.simulation.outcome import Outcome, Run
from shardproof.solver.simulation.plan_times import iteration_times, limits_of

LEAST_REQUESTS = 2000
"""Requests that a simulated run has at least, so that a 99th percentile has twenty beyond it."""
TURNS = 10
"""Requests of a closed loop's run for each request in flight."""


@dataclass(frozen=True)
class SimulationSettings:
    """What is played: ``rate`` (per second) and ``cv`` of an open loop, or a trace, instead of the workload's own.

    ``requests``: how many (``None``: enough for a 99th percentile); ``seeds``: independent runs; ``goodput``: limits
    in ns that a good request keeps, by figure.
    """

    rate: float | None = None
    cv: float = 1.0
    trace: Trace | None = None
    requests: int | None = None
    seeds: int = 5
    seed: int = 0
    router: Router = "random"
    prefix_hit: float = 0.0
    goodput: dict[str, float] = field(default_factory=dict)


def simulate(instance: Instance, plan: Plan, settings: SimulationSettings | None = None) -> tuple[Outcome, ...]:
    """Play a plan under every scenario of an instance.

    Raises
    ------
    InputError
        If the plan is not of the instance's model, or no request fits the cache.
    """
    settings = settings or SimulationSettings()
    _refuse_other_model(instance, plan)
    deployment = deployment_of(instance)
    return tuple(_scenario(deployment, plan, scenario, settings) for scenario in instance.scenarios)


def _refuse_other_model(instance: Instance, plan: Plan) -> None:
    layers, planned = instance.model.layer_count, plan.stages[-1].layers[1] + 1
    if layers != planned:
        raise InputError(
            [Problem("plan", "stages", f"{planned} layers", f"the model {instance.model.name} has {layers} layers")]
        )


def _scenario(deployment: Deployment, plan: Plan, scenario: Scenario, settings: SimulationSettings) -> Outcome:
    limits = settings.goodput or _stated_limits(scenario)
    if settings.trace is not None or settings.rate is not None:
        runs = _open_runs(deployment, plan, scenario, settings)
    elif isinstance(scenario.workload, ClosedLoop):
        runs = (_closed_run(deployment, plan, scenario, settings),)
    else:
        load = scenario.workload
        burst = [Request(0, load.input_tokens, load.output_tokens)] * load.requests
        runs = (play_open(_seats(deployment, plan, burst, settings), burst, router="round-robin", seed=settings.seed),)
    return Outcome(scenario.name, runs, limits)


def _stated_limits(scenario: Scenario) -> dict[str, float]:
    stated = {"ttft": scenario.limits.ttft, "tpot": scenario.limits.tpot}
    return {name: float(limit) for name, limit in stated.items() if limit is not None}


def _open_runs(deployment: Deployment, plan: Plan, scenario: Scenario, settings: SimulationSettings) -> tuple[Run, ...]:
    """Play a trace once for every router draw, or as many seeds of generated arrivals."""
    load, count = scenario.workload, settings.requests or LEAST_REQUESTS
    runs: list[Run] = []
    seats: Sequence[Seat] | None = None
    for seed in range(settings.seed, settings.seed + settings.seeds):
        if settings.trace is not None:
            requests = list(settings.trace.requests[: settings.requests])
        else:
            assert settings.rate is not None
            requests = generated(
                count,
                rate=settings.rate,
                cv=settings.cv,
                input_tokens=load.input_tokens,
                output_tokens=load.output_tokens,
                seed=seed,
            )
        seats = seats or _seats(deployment, plan, requests, settings)
        runs.append(play_open(seats, requests, router=settings.router, seed=seed))
    return tuple(runs)


def _closed_run(deployment: Deployment, plan: Plan, scenario: Scenario, settings: SimulationSettings) -> Run:
    load = scenario.workload
    count = settings.requests or max(LEAST_REQUESTS, TURNS * load.requests)
    lengths: Iterator[tuple[int, int]] = cycle([(load.input_tokens, load.output_tokens)])
    seats = _seats(deployment, plan, [Request(0, load.input_tokens, load.output_tokens)], settings)
    ends = [load.requests * place // len(seats) for place in range(len(seats) + 1)]
    shares = [stop - start for start, stop in pairwise(ends)]
    return play_closed(seats, lengths, shares=shares, count=max(count, load.requests))


def _seats(
    deployment: Deployment, plan: Plan, requests: Sequence[Request], settings: SimulationSettings
) -> tuple[Seat, ...]:
    """Return every replica of a plan as a seat behind the router."""
    limits = limits_of(deployment, plan, prefix_hit=settings.prefix_hit)
    longest = max(request.input_tokens + request.output_tokens for request in requests)
    times = iteration_times(deployment, plan.stages, limits, longest=longest)
    return (Seat(times, limits),) * plan.replicas
