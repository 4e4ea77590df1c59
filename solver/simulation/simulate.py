"""From an instance and a plan to a simulated service, scenario by scenario and seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import cycle, pairwise
from math import ceil
from pathlib import Path

from shardproof.formulations.apart.phases import as_together
from shardproof.formulations.apart.transfer import sending_time
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.open_loop import closed, longest_stay
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Stage
from shardproof.instances.traffic.arrivals import generated, thinned
from shardproof.instances.traffic.lengths import longest_of, shortest_of
from shardproof.instances.traffic.trace import Request, read_trace
from shardproof.instances.workload import ClosedLoop, OpenLoop, Scenario
from shardproof.solver.evaluation.groups import parted, pools
from shardproof.solver.problem import deployment_of
from shardproof.solver.simulation.fleet import Router, Seat, Stop, play_closed, play_open
from shardproof.solver.simulation.outcome import Outcome, Run, side_by_side
from shardproof.solver.simulation.plan_times import iteration_times, limits_of
from shardproof.solver.simulation.pools import Pools, play_closed_apart, play_open_apart
from shardproof.solver.simulation.replica import ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes

LEAST_REQUESTS = 2000
"""Requests that a simulated run has at least, so that a 99th percentile has twenty beyond it."""
RESIDENCES = 6
"""A run lasts at least so many times as long as a request that keeps its limits may take: it is past its beginning."""
MOST_REQUESTS = 20_000
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
    return Service(instance, settings).play(plan)


class Service:
    """Everything that plans of one question share when they are played: requests, costs, iteration times."""

    def __init__(self, instance: Instance, settings: SimulationSettings | None = None) -> None:
        """Take the question, and how it is played."""
        self.instance, self.settings = instance, settings or SimulationSettings()
        self._requests: dict[tuple[str, int], Sequence[Request]] = {}
        self._services: dict[str, Service] = {}
        self._times: dict[tuple[tuple[Stage, ...], int, int, int, int], IterationTimes] = {}
        self._runs: dict[tuple[str, str, int], Run] = {}

    @cached_property
    def deployment(self) -> Deployment:
        """The deployment problem that the engine is set up for: closed loops of one request for the open ones."""
        return deployment_of(closed(as_together(self.instance)))

    def play(self, plan: Plan, *, watched: bool = True, runs: int | None = None) -> tuple[Outcome, ...]:
        """Play a plan under every scenario.

        ``watched``: keep samples of queue and cache over time; ``runs``: of open scenarios (``None``: as set).
        """
        _refuse_other_model(self.instance, plan)
        count = runs or self.settings.seeds
        return tuple(self._scenario(plan, scenario, watched, count) for scenario in self.instance.scenarios)

    def requests(self, scenario: Scenario, seed: int) -> Sequence[Request]:
        """Requests of one run of an open scenario: a trace as it is, or generated from a seed."""
        load = scenario.workload
        assert isinstance(load, OpenLoop)
        if load.trace is not None and load.part == 1:
            return _requests_of(load.trace.path, load.trace.digest)[: self.settings.requests]
        if (scenario.name, seed) not in self._requests:
            self._requests[scenario.name, seed] = self._drawn(scenario.name, load, seed)
        return self._requests[scenario.name, seed]

    def _drawn(self, name: str, load: OpenLoop, seed: int) -> Sequence[Request]:
        """Generate the requests of a run, or draw a part of a larger stream by chance."""
        if load.trace is not None:
            found = thinned(_requests_of(load.trace.path, load.trace.digest), float(load.part), seed=seed)
            return found[: self.settings.requests]
        whole = generated(
            ceil((self.settings.requests or self._lasting(name)) / load.part),
            rate=float(load.rate / load.part),
            cv=float(load.arrival_cv),
            input_tokens=load.inputs,
            output_tokens=load.outputs,
            seed=seed,
        )
        return whole if load.part == 1 else thinned(whole, float(load.part), seed=seed)

    def at(self, instance: Instance) -> Service:
        """Return the service of the same question at other rates: what it costs is computed once."""
        found = Service(instance, self.settings)
        found.deployment, found._times = self.deployment, self._times
        return found

    def _lasting(self, name: str) -> int:
        """Requests of one run: enough for a 99th percentile, and to last for several times their stay."""
        scenario = next(one for one in self.instance.scenarios if one.name == name)
        load, stay = scenario.workload, longest_stay(scenario)
        assert isinstance(load, OpenLoop)
        wanted = 0 if stay is None else ceil(float(load.rate) * RESIDENCES * stay / 1e9)
        return max(LEAST_REQUESTS, min(MOST_REQUESTS, wanted))

    def run(
        self,
        plan: Plan,
        scenario: Scenario,
        seed: int,
        *,
        watched: bool = True,
        stop: Stop | None = None,
        first: int | None = None,
    ) -> Run:
        """Play one run of an open scenario, or its ``first`` requests alone; see `play_open`.

        The latest whole runs are kept: a plan that one run speaks for is played in all.
        """
        if watched or first is not None:
            return self._run(plan, scenario, seed, watched=watched, stop=stop, first=first)
        key = (plan.model_dump_json(), scenario.name, seed)
        found = self._runs.pop(key, None) or self._run(plan, scenario, seed, watched=False, stop=stop)
        if all(item.refused or item.finished is not None for item in found.served):
            self._runs[key] = found
        for old in list(self._runs)[: -4 * self.settings.seeds]:
            del self._runs[old]
        return found

    def _run(
        self,
        plan: Plan,
        scenario: Scenario,
        seed: int,
        *,
        watched: bool,
        stop: Stop | None = None,
        first: int | None = None,
    ) -> Run:
        load = scenario.workload
        assert isinstance(load, OpenLoop)
        requests = self.requests(scenario, seed)[:first]
        if plan.is_apart:
            pools, router = self._pools(plan, scenario), self.settings.router
            return play_open_apart(pools, requests, router=router, seed=seed, watched=watched)
        seats = self.seats(plan, self.extent(scenario), prefix_hit=float(load.prefix_cache_hit))
        return play_open(seats, requests, router=self.settings.router, seed=seed, watched=watched, stop=stop)

    def _scenario(self, plan: Plan, scenario: Scenario, watched: bool, count: int) -> Outcome:
        limits, first = self.settings.goodput or scenario.limits.plain, self.settings.seed
        load = scenario.workload
        if isinstance(load, OpenLoop):
            seeds = range(first, first + count)
            runs = tuple(self.run(plan, scenario, seed, watched=watched) for seed in seeds)
        elif isinstance(load, ClosedLoop):
            runs = (self._closed_run(plan, scenario),)
        else:
            burst = [Request(0, load.input_tokens, load.output_tokens)] * load.requests
            if plan.is_apart:
                return Outcome(scenario.name, (self._burst_apart(plan, scenario, burst),), limits)
            seats = self.seats(plan, self.extent(scenario))
            runs = (play_open(seats, burst, router="round-robin", seed=first),)
        return Outcome(scenario.name, runs, limits)

    def _burst_apart(self, plan: Plan, scenario: Scenario, burst: list[Request]) -> Run:
        """Play a burst through both pools; replicas of both phases beside them take their shares."""
        whole, rest = parted(self.instance, plan)
        passing = sum(one.workload.requests for one in rest.scenarios if one.name == scenario.name)
        played = []
        if passing:
            apart = self._pools(plan, scenario)
            played.append(play_open_apart(apart, burst[:passing], router="round-robin", seed=self.settings.seed))
        if whole is not None and len(burst) > passing:
            seats = self.seats(plan.in_pool(None), self.extent(scenario))
            played.append(play_open(seats, burst[passing:], router="round-robin", seed=self.settings.seed))
        return played[0] if len(played) == 1 else side_by_side(*played)

    def _closed_run(self, plan: Plan, scenario: Scenario) -> Run:
        load = scenario.workload
        count = self.settings.requests or max(LEAST_REQUESTS, TURNS * load.requests)
        lengths: Iterator[tuple[int, int]] = cycle([(load.input_tokens, load.output_tokens)])
        if plan.is_apart:
            apart, most = self._pools(plan, scenario), max(count, load.requests)
            return play_closed_apart(apart, lengths, flight=load.requests, count=most, seed=self.settings.seed)
        seats = self.seats(plan, self.extent(scenario))
        ends = [load.requests * place // len(seats) for place in range(len(seats) + 1)]
        shares = [stop - start for start, stop in pairwise(ends)]
        return play_closed(seats, lengths, shares=shares, count=max(count, load.requests))

    def _pools(self, plan: Plan, scenario: Scenario) -> Pools:
        """Return the replicas of both pools as seats, each set up for its own phase, and the link between them."""
        hit = float(scenario.workload.prefix_cache_hit) if isinstance(scenario.workload, OpenLoop) else 0.0
        extent, (first, second, *_) = self.extent(scenario), pools(self.instance, plan)

        def seats(asked: Instance, pool: Plan) -> tuple[Seat, ...]:
            service = self._services.setdefault(asked.fingerprint, Service(asked, self.settings))
            return service.seats(pool, extent, prefix_hit=hit)

        return Pools(seats(*first), seats(*second), lambda tokens: sending_time(self.instance, tokens))

    def extent(self, scenario: Scenario) -> tuple[int, int]:
        """Shortest prompt and longest request that any run of a scenario may hold."""
        load = scenario.workload
        if not isinstance(load, OpenLoop):
            return load.input_tokens, load.input_tokens + load.output_tokens
        if load.trace is not None:
            return _extent_of(load.trace.path, load.trace.digest)
        return shortest_of(load.inputs), longest_of(load.inputs) + longest_of(load.outputs)

    def seats(self, plan: Plan, extent: tuple[int, int], *, prefix_hit: float = 0.0) -> tuple[Seat, ...]:
        """Return every replica of a plan as a seat behind the router, weighted by its share of the requests."""
        seats: list[Seat] = []
        for group in plan.parts:
            limits = limits_of(self.deployment, group, prefix_hit=prefix_hit)
            times = self.times(group.stages, limits, extent)
            weight = float(max((share.requests for share in group.shares), default=1)) or 1.0
            seats += [Seat(times, limits, weight)] * group.replicas
        return tuple(seats)

    def times(self, stages: Sequence[Stage], limits: ReplicaLimits, extent: tuple[int, int]) -> IterationTimes:
        """Return the iteration times of a replica; replicas of one shape share them."""
        shape = tuple(Stage.of(stage.layers, stage.option) for stage in stages)
        key = (shape, limits.sequences, limits.batched_tokens, *extent)
        if key not in self._times:
            shortest, longest = extent
            self._times[key] = iteration_times(self.deployment, shape, limits, longest=longest, shortest=shortest)
        return self._times[key]


def _refuse_other_model(instance: Instance, plan: Plan) -> None:
    layers, planned = instance.model.layer_count, plan.parts[0].stages[-1].layers[1] + 1
    if layers != planned:
        raise InputError(
            [Problem("plan", "stages", f"{planned} layers", f"the model {instance.model.name} has {layers} layers")]
        )


@lru_cache(maxsize=2)
def _requests_of(path: str, digest: str) -> tuple[Request, ...]:
    """Return a trace's requests; candidates of one question read the file once."""
    del digest
    return read_trace(Path(path)).requests


@lru_cache(maxsize=2)
def _extent_of(path: str, digest: str) -> tuple[int, int]:
    """Shortest prompt and longest request of a trace."""
    requests = _requests_of(path, digest)
    longest = max(request.input_tokens + request.output_tokens for request in requests)
    return min(request.input_tokens for request in requests), longest
