"""Fleets whose requests keep coming, played: what pools apart show together, and replicas of both phases beside them.

Requests are parted by chance, or a closed loop's by fixed parts: each way keeps the limits by itself. Seats of a group
are weighted by what its replicas take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import cycle
from math import ceil
from random import Random

from shardproof.formulations.apart.paces import replica_setting
from shardproof.formulations.apart.transfer import sending_time
from shardproof.formulations.open_loop import MILLIONTHS, closed
from shardproof.instances.errors import InputError
from shardproof.instances.fleet_plan import FleetGroup
from shardproof.instances.instance import Instance
from shardproof.instances.pools import Pool, PoolsQuestion
from shardproof.instances.traffic.trace import Request
from shardproof.instances.workload import ClosedLoop, OpenLoop, Scenario
from shardproof.solver.evaluation.engine_plan import require_plan_of
from shardproof.solver.open_loop.judge import Verdict, verdicts, within_margin
from shardproof.solver.open_loop.replica_rates import at_rates
from shardproof.solver.pools.fleet_plans import pool_of
from shardproof.solver.simulation.fleet import Seat, play_closed, play_open
from shardproof.solver.simulation.outcome import Outcome, Run, side_by_side
from shardproof.solver.simulation.plan_times import limits_under
from shardproof.solver.simulation.pools import Pools, play_closed_apart, play_open_apart
from shardproof.solver.simulation.simulate import LEAST_REQUESTS, TURNS, Service, SimulationSettings


@dataclass
class FleetService:
    """Everything that fleets of one question share when they are played: requests, costs, iteration times."""

    question: PoolsQuestion
    settings: SimulationSettings = field(default_factory=SimulationSettings)
    asked: dict[str, Fraction] = field(default_factory=dict)
    """Requests in flight, or a second, of scenarios of which the groups take others than the question says."""
    _services: dict[str, Service] = field(default_factory=dict)
    _streams: dict[tuple[str, int], Service] = field(default_factory=dict)

    def outcome(self, title: str, groups: Sequence[FleetGroup], seeds: int | None = None) -> Outcome:
        """Play one scenario through the groups that take its requests."""
        own = [group for group in groups if any(one.name == title for one in group.takes)]
        scenario = self.scenario(title, own)
        if isinstance(scenario.workload, ClosedLoop):
            runs: tuple[Run, ...] = (self._closed(title, scenario, own),)
        else:
            first = self.settings.seed
            count = seeds or self.settings.seeds
            runs = tuple(self._open(title, scenario, own, seed) for seed in range(first, first + count))
        return Outcome(title, runs, self.settings.goodput or scenario.limits.plain)

    def verdicts(self, title: str, groups: Sequence[FleetGroup], outcome: Outcome) -> tuple[Verdict, ...]:
        """Hold what was shown against the scenario's limits."""
        found = verdicts(self.scenario(title, groups, tight=True), outcome)
        return tuple(replace(one, scenario=title) for one in found)

    def scenario(self, title: str, groups: Sequence[FleetGroup], *, tight: bool = False) -> Scenario:
        """Return a scenario as the question states it, or with what its margin leaves of its limits."""
        own = next((group for group in groups if any(one.name == title for one in group.takes)), None)
        if own is None:
            raise InputError(f"plan: groups: none takes requests of {title}")
        pool = self._pool(own)
        instance = within_margin(pool.instance) if tight else pool.instance
        return instance.scenarios[[self.question.title(place) for place in pool.places].index(title)]

    def _pool(self, group: FleetGroup) -> Pool:
        if group.plan is None:
            raise InputError("capacities are given as data: there is no plan of a replica; name models")
        found = pool_of(self.question, group)
        for part in group.plan.parts:
            require_plan_of(found.instance, group.plan.part(part))
        return found

    def _closed(self, title: str, scenario: Scenario, groups: Sequence[FleetGroup]) -> Run:
        load = scenario.workload
        whole = [group for group in groups if group.phase is None]
        flight = ceil(self.asked.get(title, load.requests))
        taken = min(flight, sum(group.replicas * takes_of(group, title)[0] for group in whole))
        lengths = cycle([(load.input_tokens, load.output_tokens)])
        played = list[Run]()
        passing = flight - taken
        if passing and len(whole) < len(groups):
            count = max(self.settings.requests or max(LEAST_REQUESTS, TURNS * passing), passing)
            pools = self._pools(title, scenario, groups)
            played.append(play_closed_apart(pools, lengths, flight=passing, count=count, seed=self.settings.seed))
        if taken:
            seats = self.seats(title, scenario, whole)
            shares = [takes_of(group, title)[0] for group in whole for _ in range(group.replicas)]
            count = max(self.settings.requests or max(LEAST_REQUESTS, TURNS * taken), taken)
            played.append(play_closed(seats, lengths, shares=shares, count=count))
        return played[0] if len(played) == 1 else side_by_side(*played)

    def _open(self, title: str, scenario: Scenario, groups: Sequence[FleetGroup], seed: int) -> Run:
        requests = self._requests(title, scenario, groups, seed)
        whole = [group for group in groups if group.phase is None]
        share = sum(group.replicas * takes_of(group, title)[1] for group in whole)
        sent = sum(group.replicas * takes_of(group, title)[1] for group in groups if group.phase == "prefill")
        hit, router = float(getattr(scenario.workload, "prefix_cache_hit", 0)), self.settings.router
        if not sent:
            return play_open(self.seats(title, scenario, whole, hit), requests, router=router, seed=seed)
        pools = self._pools(title, scenario, groups, hit)
        if not share:
            return play_open_apart(pools, requests, router=router, seed=seed)
        drawn, chance = (list[Request](), list[Request]()), Random(seed)
        for request in requests:
            drawn[chance.random() * (share + sent) < share].append(request)
        apart = play_open_apart(pools, drawn[0], router=router, seed=seed)
        beside = play_open(self.seats(title, scenario, whole, hit), drawn[1], router=router, seed=seed)
        return side_by_side(apart, beside)

    def _requests(self, title: str, scenario: Scenario, groups: Sequence[FleetGroup], seed: int) -> Sequence[Request]:
        load = scenario.workload
        assert isinstance(load, OpenLoop)
        rate = ceil(self.asked.get(title, load.rate) * MILLIONTHS)
        if (title, rate) not in self._streams:
            instance = self._pool(groups[0]).instance
            alone = instance.model_copy(update={"scenarios": (scenario,)})
            whole = rate == ceil(load.rate * MILLIONTHS)
            self._streams[title, rate] = Service(alone if whole else at_rates(alone, (rate,)), self.settings)
        stream = self._streams[title, rate]
        return stream.requests(stream.instance.scenarios[0], seed)

    def _pools(self, title: str, scenario: Scenario, groups: Sequence[FleetGroup], hit: float = 0.0) -> Pools:
        first = [group for group in groups if group.phase == "prefill"]
        second = [group for group in groups if group.phase == "decode"]
        if not (first and second):
            remedy = "lacks replicas of one phase; give both, or replicas of both phases"
            raise InputError(f"plan: groups: {title} {remedy}")
        return Pools(self.seats(title, scenario, first, hit), self.seats(title, scenario, second, hit), lambda _: 0)

    def seats(self, title: str, scenario: Scenario, groups: Sequence[FleetGroup], hit: float = 0.0) -> tuple[Seat, ...]:
        """Return every replica of groups as a seat, weighted by what it takes of the scenario."""
        found = list[Seat]()
        for group in groups:
            requests, rate = takes_of(group, title)
            assert group.plan is not None
            base = replica_setting(self.question, self._pool(group))
            service = self._services.setdefault(base.fingerprint, Service(base, self.settings))
            plain = group.plan.model_copy(update={"shares": (), "replicas": group.replicas})
            limits = limits_under(_set_up(closed(base), group), plain, prefix_hit=hit)
            times = service.times(plain.stages, limits, service.extent(scenario))
            link = partial(sending_time, self._pool(group).instance) if group.phase == "prefill" else None
            found += [Seat(times, limits, float(rate or requests or 1), link)] * group.replicas
        return tuple(found)


def _set_up(instance: Instance, group: FleetGroup) -> Instance:
    """Return what the engine of a group is set up for: as many requests at once as its plan was made for."""
    assert group.plan is not None
    shares = {one.scenario: one.requests * group.replicas for one in group.plan.shares}
    scenarios = []
    for scenario in instance.scenarios:
        workload = scenario.workload
        if isinstance(workload, ClosedLoop) and workload.phase != "prefill" and scenario.name in shares:
            workload = workload.model_copy(update={"concurrency": shares[scenario.name]})
        scenarios.append(scenario.model_copy(update={"workload": workload}))
    return instance.model_copy(update={"scenarios": tuple(scenarios)})


def takes_of(group: FleetGroup, title: str) -> tuple[int, float]:
    """Return what one replica of a group takes of a scenario: requests in flight, or requests a second."""
    one = next((one for one in group.takes if one.name == title), None)
    return (0, 0.0) if one is None else (one.requests or 0, one.rate_per_s or 0.0)
