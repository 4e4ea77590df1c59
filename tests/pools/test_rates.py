"""Pools of requests that come by themselves: what replicas sustain, streams drawn by chance, spares in service."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from random import Random
from statistics import fmean, pstdev
from typing import Any

import pytest

import shardproof
from shardproof.formulations.pools.problem import Kind, Limit, PoolsProblem, Supply
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree
from shardproof.instances.traffic.arrivals import generated, thinned
from shardproof.instances.workload import OpenLoop, Scenario
from shardproof.solver.open_loop.replica_rates import ReplicaRates, at_rates
from shardproof.solver.open_loop.shapes import Shape
from shardproof.solver.pools import why
from shardproof.solver.pools.arriving import PLAYED, OpenPool
from shardproof.solver.pools.fleet_plans import group_instance
from shardproof.solver.pools.knowledge import Searched
from shardproof.solver.pools.pooled import Clock
from shardproof.solver.pools.search import PoolsSearch
from shardproof.solver.simulation.simulate import Service, SimulationSettings
from tests.oracles.pool_of_one import disagreement, random_question
from tests.oracles.random_pools import cheapest

CHAT: dict[str, Any] = {
    "model": "qwen3-8b",
    "engine": "vllm",
    "workload": {"kind": "requests", "rate": "12/s", "input_tokens": 512, "output_tokens": 64},
    "limits": {"ttft": {"p99": "1 s"}, "tpot": {"p99": "40 ms"}, "max_gpus": 8},
    "max_stage_gpus": 2,
}
DEVICES = [
    {"device": "a100-40-sxm", "price_per_hour": "1.10 USD/h"},
    {"device": "h100-sxm", "price_per_hour": "2.40 USD/h"},
]


class _Told:
    """Rates that are given: what shapes sustain, and bounds above them."""

    def __init__(self, truth: dict[Shape, tuple[int, ...]], loose: dict[Shape, float]) -> None:
        self.truth, self.loose, self.shapes, self.asked = truth, loose, tuple(truth), 0

    def bounds(self, shape: Shape) -> tuple[int, ...]:
        alike = [one for one in self.shapes if one.option == shape.option and one.stages <= shape.stages]
        own = alike if shape.stages == max(one.stages for one in self.shapes if one.option == shape.option) else [shape]
        loads = zip(*(self._scaled(one, shape.stages) for one in own), strict=True)
        return tuple(map(max, loads))

    def _scaled(self, shape: Shape, stages: int) -> list[int]:
        return [-(-int(rate * self.loose[shape]) * stages // shape.stages) for rate in self.truth[shape]]

    def starts(self, shape: Shape) -> bool:
        return any(self.truth[shape])

    def may_keep(self, shape: Shape, rates: tuple[int, ...], replicas: int = 1) -> bool:
        self.asked += 1
        return all(rate <= replicas * most for rate, most in zip(rates, self.truth[shape], strict=True))


def _told(random: Random, scenarios: int) -> _Told:
    options = [Option(tp, 1, tp, 1) for tp in random.sample((1, 2, 3, 4), random.randint(1, 3))]
    shapes = [Shape(option, stages) for option in options for stages in range(1, random.randint(1, 3) + 1)]
    shapes = [shape for shape in shapes if shape.gpus <= 4]
    truth = {s: tuple(random.randint(0, 900_000) * s.gpus for _ in range(scenarios)) for s in shapes}
    return _Told(truth, {shape: random.uniform(1, 2.5) for shape in shapes})


def _pool(offer: int, place: int, told: _Told, question: Instance) -> OpenPool:
    size = len(next(iter(told.truth.values())))
    scenarios = tuple(Scenario(name=f"s{at}", workload=question.scenarios[0].workload) for at in range(size))
    instance = question.model_copy(update={"scenarios": scenarios})
    pool = OpenPool(offer, tuple((at,) for at in range(place, place + size)), instance, Clock())
    pool.__dict__["rates"] = told
    return pool


@pytest.fixture(scope="module")
def question() -> Instance:
    return resolve_tree(CHAT | {"device": "a100-40-sxm"}, where="test")


@pytest.mark.parametrize("seed", range(60))
def test_the_fleet_of_played_rates_is_that_of_brute_force(seed: int, question: Instance) -> None:
    """The search, which plays few shapes, finds what all fleets over all shapes say, to the precision of playing."""
    random = Random(f"rates {seed}")
    scenarios = random.choice((1, 1, 2))
    supplies = tuple(Supply(f"o{o}", 4, ((4, 2),), random.randint(1, 9)) for o in range(random.randint(1, 2)))
    tolds = [_told(random, scenarios) for _ in supplies]
    pools = [_pool(o, 0, told, question) for o, told in enumerate(tolds)]
    demand = tuple(random.randint(200_000, 4_000_000) for _ in range(scenarios))
    spare: Any = random.choice((None, None, "replica", "node"))
    base = PoolsProblem(demand, (), supplies, (Limit("max_gpus", (1,) * len(supplies), 6),), spare=spare)

    def exact(part: float) -> int | None:
        kinds = [
            Kind(o, o, shape.gpus, (tuple(int(rate * part) for rate in rates),))
            for o, told in enumerate(tolds)
            for shape, rates in told.truth.items()
            if all(int(rate * part) for rate in rates)
        ]
        return cheapest(base.with_kinds(kinds)) if kinds else None

    found = PoolsSearch(Searched(base, pools, floor=False)).run()
    bound = PoolsSearch(Searched(base, pools, floor=True)).run()
    most, least = exact(1 / PLAYED - 2e-6), exact(1.0)
    if least is None:
        assert found is None
        return
    assert bound is not None
    assert bound.cost <= least
    assert most is None or found is not None
    if found is not None:
        assert least <= found.cost
        assert most is None or found.cost <= most


def test_a_part_of_a_stream_is_drawn_by_chance() -> None:
    whole = generated(60_000, rate=50.0, cv=3.0, input_tokens=10, output_tokens=10, seed=1)
    part = thinned(whole, 0.2, seed=1)
    gaps = [b.arrival_ns - a.arrival_ns for a, b in pairwise(part)]
    assert fmean(gaps) == pytest.approx(1e8, rel=0.03)
    assert (pstdev(gaps) / fmean(gaps)) ** 2 == pytest.approx(1 + 0.2 * 8, rel=0.1)  # of a thinned renewal process


def test_a_stream_that_is_not_poisson_is_played_as_a_part(question: Instance) -> None:
    load = question.scenarios[0].workload
    assert isinstance(load, OpenLoop)
    bursty = load.model_copy(update={"arrival_cv": Fraction(2)})
    asked = question.model_copy(update={"scenarios": (question.scenarios[0].model_copy(update={"workload": bursty}),)})
    part = at_rates(asked, (3_000_000,)).scenarios[0].workload
    plain = at_rates(question, (3_000_000,)).scenarios[0].workload
    assert isinstance(part, OpenLoop)
    assert isinstance(plain, OpenLoop)
    assert (part.rate, part.part, plain.part) == (3, Fraction(1, 4), 1)
    service = Service(at_rates(asked, (3_000_000,)), SimulationSettings())
    requests = service.requests(service.instance.scenarios[0], 0)
    assert len(requests) == pytest.approx(2000, rel=0.1)
    assert len(requests) / requests[-1].arrival_ns * 1e9 == pytest.approx(3, rel=0.15)


def test_a_rate_above_the_bound_is_not_kept_in_service(question: Instance) -> None:
    rates = ReplicaRates(question)
    for shape in rates.shapes:
        if shape.gpus <= 2:
            (bound,) = rates.bounds(shape)
            assert bound == 0 or not rates.keeps(shape, (bound + bound // 20,))


@pytest.fixture(scope="module")
def fleet() -> shardproof.SolvedFleet:
    found = shardproof.solve(CHAT | {"devices": DEVICES, "objective": "price", "spare": "node"})
    assert isinstance(found, shardproof.SolvedFleet)
    return found


@pytest.mark.slow  # plays a fleet of several devices with its spares
def test_a_fleet_of_requests_per_second_keeps_its_limits_when_a_node_is_gone(fleet: shardproof.SolvedFleet) -> None:
    assert fleet.plan is not None
    assert fleet.value is not None
    assert fleet.bound is not None
    assert 0 < fleet.bound <= fleet.value
    assert (fleet.status == "optimal") == (fleet.bound == fleet.value)
    assert fleet.proof == "solver-claimed"
    assert all(share >= 1 for case in fleet.plan.spared for share in case.carried.values())
    assert all(group.shown for group in fleet.plan.groups)
    for case in fleet.plan.spared:
        sums = sum(n * (g.takes[0].rate_per_s or 0) for n, g in zip(case.replicas, fleet.plan.groups, strict=True))
        assert sums >= 12 - 1e-6
    for group in fleet.plan.groups:
        service = Service(group_instance(fleet.instance, group), SimulationSettings(seeds=3, seed=1000))
        assert group.plan is not None
        (outcome,) = service.play(group.plan, watched=False)
        assert outcome.figure("ttft", 99).low <= 1e9
        assert outcome.figure("tpot", 99).low <= 40e6


@pytest.mark.slow  # the same fleet, compared, explained and exported
def test_other_verbs_take_fleets_of_requests_per_second(fleet: shardproof.SolvedFleet) -> None:
    compared = shardproof.compare(fleet, instance=CHAT | {"devices": DEVICES, "objective": "price", "spare": "node"})
    assert isinstance(compared, shardproof.ComparedFleets)
    assert [plan.broken for plan in compared.plans] == [()]
    said = shardproof.explain(CHAT | {"devices": DEVICES, "objective": "price", "spare": "node"})
    assert any("with nothing spare" in reason for reason in said.reasons)
    assert "README.md" in shardproof.export(fleet, to="vllm").files


@pytest.mark.slow  # plays the fleets of two answers to each question; more of them: `benchmarks.pools --one`
@pytest.mark.parametrize("seed", [1, 2])
def test_one_device_and_a_pool_of_it_have_one_answer(seed: int) -> None:
    assert disagreement(random_question(seed)) is None


def test_more_rate_than_a_fleet_keeps_is_lowered_to_the_next_number_of_replicas(question: Instance) -> None:
    pool = OpenPool(0, ((0,),), question, Clock())
    shape, whole = next(one for one in pool.rates.shapes if one.gpus == 1), 12_000_000
    while pool.missed.get(shape) is None or not pool.kept[shape][0]:
        pool.learn_rate(shape, (whole,), 1.0, (whole,))
    for replicas in (5, 6):
        pool.lower(shape, 0, -(-whole // replicas), whole)
        kept = pool.kept[shape][0]
        assert replicas * kept < whole <= (replicas + 1) * kept


def _prices(a100: float, h100: float) -> dict[str, Any]:
    offers = [DEVICES[0] | {"price_per_hour": f"{a100} USD/h"}, DEVICES[1] | {"price_per_hour": f"{h100} USD/h"}]
    return CHAT | {"devices": offers, "objective": "price"}


def _devices(asked: dict[str, Any]) -> set[str]:
    found = shardproof.solve(asked)
    assert isinstance(found, shardproof.SolvedFleet)
    assert found.plan is not None
    return {group.device for group in found.plan.groups}


@pytest.mark.slow  # plays the fleets of several prices
def test_the_fleet_of_rates_changes_at_the_price_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why, "PLAYED_WITHIN_S", 1e6)
    found = shardproof.sensitivity(_prices(1.10, 2.40))
    assert isinstance(found, shardproof.FleetSensitivity)
    assert found.growth is not None
    assert 1 <= found.growth < 8
    used = [offer for offer in found.offers if offer["gpus"]]
    assert len(used) == 1
    assert used[0]["lowest"] is None
    assert used[0]["late"] == []
    highest = used[0]["highest"]
    assert highest is not None
    at = found.offers.index(used[0])
    near = [(*(1.10, 2.40)[:at], highest * factor, *(1.10, 2.40)[at + 1 :]) for factor in (0.99, 1.01)]
    assert [_devices(_prices(*prices)) == {used[0]["offer"]} for prices in near] == [True, False]


def test_rates_and_bursts_stand_in_models_of_their_own() -> None:
    burst = {"name": "b", "workload": {"kind": "burst", "batch_size": 2, "input_tokens": 9, "output_tokens": 9}}
    open_ = {"name": "a", "workload": CHAT["workload"]}
    base = {key: CHAT[key] for key in ("model", "engine")} | {"devices": DEVICES}
    asked = base | {"scenarios": [open_, burst]}
    with pytest.raises(shardproof.InputError, match="models of their own"):
        shardproof.solve(asked)
