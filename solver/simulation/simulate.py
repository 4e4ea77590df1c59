"""From an instance and a plan to a simulated service, scenario by scenario and seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import cycle, pairwise
from pathlib import Path

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.open_loop import closed, slowest_token
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.traffic.arrivals import generated
from shardproof.instances.traffic.trace import Request, read_trace
from shardproof.instances.workload import ClosedLoop, OpenLoop, Scenario
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
    """How a plan is played.

    ``requests``: how many (``None``: enough for a 99th percentile); ``seeds``: independent runs; ``goodput``: limits
    in ns that a good request keeps, by figure (empty: those of the scenario).
    """

    requests: int | None = None
    seeds: int = 5
    seed: int = 0
    router: Router = "random"
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
    deployment = deployment_of(_closed(instance))
    return tuple(_scenario(deployment, plan, scenario, settings) for scenario in instance.scenarios)


def _closed(instance: Instance) -> Instance:
    """Return the instance that the engine is set up for: closed loops in the place of open ones."""
    usual = Fraction(slowest_token(instance), 10)
    return closed(instance, fastest=usual, slowest=usual)


def _refuse_other_model(instance: Instance, plan: Plan) -> None:
    layers, planned = instance.model.layer_count, plan.parts[0].stages[-1].layers[1] + 1
    if layers != planned:
        raise InputError(
            [Problem("plan", "stages", f"{planned} layers", f"the model {instance.model.name} has {layers} layers")]
        )


def _scenario(deployment: Deployment, plan: Plan, scenario: Scenario, settings: SimulationSettings) -> Outcome:
    limits = settings.goodput or scenario.limits.plain
    if isinstance(scenario.workload, OpenLoop):
        runs = _open_runs(deployment, plan, scenario.workload, settings)
    elif isinstance(scenario.workload, ClosedLoop):
        runs = (_closed_run(deployment, plan, scenario, settings),)
    else:
        load = scenario.workload
        burst = [Request(0, load.input_tokens, load.output_tokens)] * load.requests
        runs = (play_open(_seats(deployment, plan, burst), burst, router="round-robin", seed=settings.seed),)
    return Outcome(scenario.name, runs, limits)


@lru_cache(maxsize=2)
def _requests_of(path: str, digest: str) -> tuple[Request, ...]:
    """Return a trace's requests; candidates of one question read the file once."""
    del digest
    return read_trace(Path(path)).requests


def _open_runs(deployment: Deployment, plan: Plan, load: OpenLoop, settings: SimulationSettings) -> tuple[Run, ...]:
    """Play a trace once for every router draw, or as many seeds of generated arrivals."""
    count = settings.requests or LEAST_REQUESTS
    trace = None if load.trace is None else _requests_of(load.trace.path, load.trace.digest)
    runs: list[Run] = []
    seats: Sequence[Seat] | None = None
    for seed in range(settings.seed, settings.seed + settings.seeds):
        requests = (
            generated(
                count,
                rate=float(load.rate),
                cv=float(load.arrival_cv),
                input_tokens=load.inputs,
                output_tokens=load.outputs,
                seed=seed,
            )
            if trace is None
            else trace[: settings.requests]
        )
        seats = seats or _seats(deployment, plan, requests, prefix_hit=float(load.prefix_cache_hit))
        runs.append(play_open(seats, requests, router=settings.router, seed=seed))
    return tuple(runs)


def _closed_run(deployment: Deployment, plan: Plan, scenario: Scenario, settings: SimulationSettings) -> Run:
    load = scenario.workload
    count = settings.requests or max(LEAST_REQUESTS, TURNS * load.requests)
    lengths: Iterator[tuple[int, int]] = cycle([(load.input_tokens, load.output_tokens)])
    seats = _seats(deployment, plan, [Request(0, load.input_tokens, load.output_tokens)])
    ends = [load.requests * place // len(seats) for place in range(len(seats) + 1)]
    shares = [stop - start for start, stop in pairwise(ends)]
    return play_closed(seats, lengths, shares=shares, count=max(count, load.requests))


def _seats(
    deployment: Deployment, plan: Plan, requests: Sequence[Request], *, prefix_hit: float = 0.0
) -> tuple[Seat, ...]:
    """Return every replica of a plan as a seat behind the router, weighted by its share of the requests."""
    longest = max(request.input_tokens + request.output_tokens for request in requests)
    seats: list[Seat] = []
    for group in plan.parts:
        limits = limits_of(deployment, group, prefix_hit=prefix_hit)
        times = iteration_times(deployment, group.stages, limits, longest=longest)
        weight = float(max((share.requests for share in group.shares), default=1)) or 1.0
        seats += [Seat(times, limits, weight)] * group.replicas
    return tuple(seats)
