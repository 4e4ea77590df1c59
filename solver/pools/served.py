"""A fleet in service and in numbers: every group on its own device, replicas of two phases as one path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shardproof.formulations.apart.transfer import sending_time
from shardproof.instances.errors import InputError
from shardproof.instances.fleet_plan import FleetGroup, FleetPlan
from shardproof.instances.plan import Plan
from shardproof.instances.pools import Pool, PoolsQuestion
from shardproof.instances.traffic.trace import Request
from shardproof.instances.workload import Burst, Scenario
from shardproof.solver.evaluation.figures import Throughput
from shardproof.solver.evaluation.predictions import Prediction, predict
from shardproof.solver.pools.fleet_plans import group_instance, group_plan, pool_of
from shardproof.solver.pools.steady_play import FleetService
from shardproof.solver.simulation.fleet import Seat, play_open
from shardproof.solver.simulation.outcome import Outcome, Run, side_by_side
from shardproof.solver.simulation.pools import Pools, play_open_apart
from shardproof.solver.simulation.simulate import Service, SimulationSettings


def predict_fleet(question: PoolsQuestion, plan: FleetPlan, *, level: float | None = None) -> tuple[Prediction, ...]:
    """Predict every group under its share of the requests; requests that pass two pools have the times of both.

    Raises
    ------
    InputError
        If a group is a row of a table, or stands in a pool that the question does not have.
    """
    found = [
        replace(one, group=place, pool=group.phase)
        for place, group in enumerate(plan.groups)
        for one in predict(group_instance(question, group), group_plan(question, group) or _plan(group), level=level)
    ]
    return tuple(_passing(question, plan, found))


def _plan(group: FleetGroup) -> Plan:
    if group.plan is None:
        raise InputError("capacities are given as data: there is no plan of a replica; name models")
    return group.plan


def _passing(question: PoolsQuestion, plan: FleetPlan, found: list[Prediction]) -> Iterator[Prediction]:
    """Give predictions of one phase the slowest TTFT and TPOT of the requests that pass through both."""
    for one in found:
        assert one.group is not None
        model = plan.groups[one.group].model
        path = [
            other
            for other in found
            if other.group is not None
            and other.pool is not None
            and (plan.groups[other.group].model, other.scenario) == (model, one.scenario)
        ]
        if one.pool is None:
            yield one
        else:
            groups = [plan.groups[other.group] for other in path if other.group is not None]
            if {group.phase for group in groups} != {"prefill", "decode"}:
                raise _lacking(one.scenario)
            slowest = replace(one, ttft_s=max(other.ttft_s for other in path), tpot_ms=max(x.tpot_ms for x in path))
            yield replace(slowest, throughput=_throughput(question, slowest, groups))


def _lacking(scenario: str) -> InputError:
    return InputError(f"plan: groups: {scenario} lacks replicas of one phase; give both, or replicas of both phases")


def _throughput(question: PoolsQuestion, slowest: Prediction, groups: list[FleetGroup]) -> Throughput:
    """What both pools of a path deliver: their prompts over the time from arrival to the last token."""
    senders = [group for group in groups if group.phase == "prefill"]
    pool = pool_of(question, senders[0])
    at = [scenario.name for scenario in pool.instance.scenarios].index(slowest.scenario)
    load, title = pool.instance.scenarios[at].workload, question.title(pool.places[at])
    sent = sum(group.replicas * (one.requests or 0) for group in senders for one in group.takes if one.name == title)
    rate = sent / (slowest.ttft_s + (load.output_tokens - 1) * slowest.tpot_ms / 1e3)
    return Throughput(
        requests_per_s=rate,
        output_tokens_per_s=rate * load.output_tokens,
        total_tokens_per_s=rate * (load.output_tokens + load.input_tokens),
        output_tokens_per_s_per_gpu=rate * load.output_tokens / sum(group.gpus for group in groups),
        output_tokens_per_s_per_user=1e3 / max(slowest.tpot_ms, 1e-6),
    )


def simulate_fleet(
    question: PoolsQuestion, plan: FleetPlan, settings: SimulationSettings | None = None
) -> tuple[Outcome, ...]:
    """Play a fleet under all that it is asked: both pools, the link between them, replicas of both beside.

    Raises
    ------
    InputError
        If a scenario has no replicas of one phase, or capacities are given as data.
    """
    service = FleetService(question, settings or SimulationSettings())
    titles = dict.fromkeys(question.title(place) for place in range(len(question.names)))
    return tuple(_outcome(service, plan, title) for title in titles)


def _outcome(service: FleetService, plan: FleetPlan, title: str) -> Outcome:
    if isinstance(service.scenario(title, plan.groups).workload, Burst):
        return _Played(service.question, plan, service.settings, title).outcome()
    return service.outcome(title, plan.groups)


class _Played:
    """One scenario of a fleet: the groups that take its requests."""

    def __init__(self, question: PoolsQuestion, plan: FleetPlan, settings: SimulationSettings, title: str) -> None:
        self.question, self.settings, self.title = question, settings, title
        self.groups = [group for group in plan.groups if any(one.name == title for one in group.takes)]
        if not self.groups:
            raise InputError(f"plan: groups: none takes requests of {title}")
        self.scenario = self._scenario(self.groups[0])

    def _pool(self, group: FleetGroup) -> Pool:
        _plan(group)
        return pool_of(self.question, group)

    def _scenario(self, group: FleetGroup) -> Scenario:
        pool = self._pool(group)
        at = [self.question.title(place) for place in pool.places].index(self.title)
        return pool.instance.scenarios[at]

    def outcome(self) -> Outcome:
        """Play the scenario once: bursts are the same every time."""
        load, limits = self.scenario.workload, self.settings.goodput or self.scenario.limits.plain
        place = [self.question.title(at) for at in range(len(self.question.names))].index(self.title)
        count = int(self.question.demand[place])
        whole = sum(group.replicas * self._takes(group) for group in self.groups if group.phase is None)
        passing = max(0, count - whole)
        burst = [Request(0, load.input_tokens, load.output_tokens)] * count
        played: list[Run] = []
        if passing:
            played.append(self._apart(burst[:passing]))
        if count > passing:
            seats = self._seats(None)
            played.append(play_open(seats, burst[passing:], router="round-robin", seed=self.settings.seed))
        return Outcome(self.title, (played[0] if len(played) == 1 else side_by_side(*played),), limits)

    def _apart(self, burst: list[Request]) -> Run:
        """Play both pools; every cache takes as long as on the slowest link of any prefill replica."""
        senders = [self._pool(group).instance for group in self.groups if group.phase == "prefill"]
        prefill, decode = self._seats("prefill"), self._seats("decode")
        if not (prefill and decode):
            raise _lacking(self.title)
        pools = Pools(prefill, decode, lambda tokens: max(sending_time(one, tokens) for one in senders))
        return play_open_apart(pools, burst, router="round-robin", seed=self.settings.seed)

    def _takes(self, group: FleetGroup) -> int:
        return sum(one.requests or 0 for one in group.takes if one.name == self.title)

    def _seats(self, phase: str | None) -> tuple[Seat, ...]:
        load, seats = self.scenario.workload, list[Seat]()
        extent = (load.input_tokens, load.input_tokens + load.output_tokens)
        for group in (group for group in self.groups if group.phase == phase):
            service = Service(group_instance(self.question, group), self.settings)
            assert group.plan is not None
            seats += service.seats(group.plan, extent)
        return tuple(seats)
