"""Prefill and decode on devices of their own under requests that keep coming: plans, bounds, service, verbs."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import pytest

import shardproof
from shardproof.formulations.apart.pace import Pace
from shardproof.formulations.apart.paces import bounded, first_intervals, halved, planned, slowest_of
from shardproof.formulations.apart.phases import Tokens, decoding_of, rate_of
from shardproof.instances.errors import InputError
from shardproof.instances.fleet_plan import FleetPlan
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.pools_resolve import resolve_pools
from shardproof.solver.pools.held import held
from shardproof.solver.pools.solve import solve_pools
from shardproof.solver.pools.steady_plans import Shown
from shardproof.solver.pools.steady_play import FleetService
from shardproof.solver.search.settings import Settings
from tests.oracles.apart_fleets import TWO

QUICK = Settings(explain=False)
LOOP: dict[str, Any] = {"kind": "closed-loop", "input_tokens": 2048, "output_tokens": 256, "concurrency": 64}
COMING: dict[str, Any] = {"kind": "requests", "input_tokens": 2048, "output_tokens": 256, "rate": "12/s"}


def asked(workload: dict[str, Any] = LOOP, **fields: Any) -> PoolsQuestion:
    return resolve_pools(TWO | {"workload": workload} | fields, where="test")


@cache
def loop() -> shardproof.SolvedFleet:
    found = shardproof.solve(TWO | {"workload": LOOP})
    assert isinstance(found, shardproof.SolvedFleet)
    return found


def plan() -> FleetPlan:
    found = loop().plan
    assert found is not None
    return found


@pytest.mark.slow  # a fleet is found, played and bounded
def test_each_phase_of_a_closed_loop_has_its_device_and_keeps_its_limits_in_service() -> None:
    found = loop()
    assert (found.status, found.proof, found.value) == ("optimal", "solver-claimed", 4.2)
    assert {(group.device, group.phase) for group in plan().groups} == {
        ("h100-sxm", "prefill"),
        ("a100-80-sxm", "decode"),
    }
    for phase in ("prefill", "decode"):
        groups = [group for group in plan().groups if group.phase == phase]
        assert sum(group.replicas * (one.requests or 0) for group in groups for one in group.takes) == 64
    assert held(found.instance, plan(), "plan").broken == ()
    assert any("decode replica keeps the limit" in line for line in found.assumptions)
    assert found.certificate() is None


def test_what_is_played_obeys_littles_law() -> None:
    (outcome,) = shardproof.simulate(loop()).outcomes
    first, token = outcome.figure("ttft", None).value, outcome.figure("tpot", None).value
    rate = outcome.throughput()["requests_per_s"]
    assert rate * (first + 255 * token) / 1e9 == pytest.approx(64, rel=0.1)
    assert first < 1e9
    assert token < 20e6


@pytest.mark.slow  # every smaller fleet is played
def test_fleets_that_cost_less_than_the_bound_miss_a_limit_when_played() -> None:
    """One replica fewer of either phase, and the same GPUs as narrower replicas."""
    question = asked(LOOP | {"concurrency": 130}, max_stage_gpus=1)
    result = solve_pools(question, QUICK)
    assert result.plan is not None
    assert result.bound is not None
    prefill, decode = sorted(result.plan.groups, key=lambda group: group.phase != "prefill")
    service, tried = FleetService(question), 0
    for counts in product(range(1, prefill.replicas + 2), range(1, decode.replicas + 2)):
        cost = 2_000_000 * counts[0] * prefill.gpus_each + 1_100_000 * counts[1] * decode.gpus_each
        if cost >= result.bound:
            continue
        pairs = zip((prefill, decode), counts, strict=True)
        groups = tuple(group.model_copy(update={"replicas": count}) for group, count in pairs)
        fewer = result.plan.model_copy(update={"groups": groups})
        assert not Shown.of(question, fewer, service, None).keeps_all, counts
        tried += 1
    assert tried > 1


@pytest.mark.slow  # five runs of each fleet
def test_requests_a_second_are_planned_played_and_bounded() -> None:
    question = asked(COMING, limits={"ttft_p99": "1 s", "tpot_p99": "20 ms"})
    result = solve_pools(question, QUICK)
    assert result.value is not None
    assert result.bound is not None
    assert result.bound <= result.value
    assert result.plan is not None
    assert {one.rate_per_s for group in result.plan.groups for one in group.takes} == {12.0}
    assert held(question, result.plan, "plan").broken == ()
    assert any("ttft p99" in line for group in result.plan.groups for line in group.shown)


@pytest.mark.slow  # three questions each
@pytest.mark.parametrize("flight", [16, 90])
def test_any_is_never_dearer_than_together_or_apart(flight: int) -> None:
    both = "h100-sxm=16@2 USD/h,a100-80-sxm=32@1.1 USD/h"
    found = {
        way: solve_pools(asked(LOOP | {"concurrency": flight}, serving=way, devices=both), QUICK)
        for way in ("together", "apart", "any")
    }
    values = {way: one.value if one.value is not None else 10**9 for way, one in found.items()}
    assert values["any"] <= min(values["together"], values["apart"])
    bound = found["any"].bound
    assert bound is not None
    assert bound <= values["any"]


@pytest.mark.slow  # every case of something being gone is played
def test_whatever_may_be_gone_is_played_too() -> None:
    question = asked(LOOP, spare={"gpus": 1, "per": "replica"}, max_stage_gpus=1)
    result = solve_pools(question, QUICK)
    assert result.plan is not None
    assert len(result.plan.spared) == 2
    for case in result.plan.spared:
        pairs = zip(result.plan.groups, case.replicas, strict=True)
        left = tuple(group.model_copy(update={"replicas": count}) for group, count in pairs if count)
        rest = result.plan.model_copy(update={"groups": left, "spared": ()})
        assert Shown.of(question, rest, FleetService(question), None).keeps_all
    fewest = tuple(group.model_copy(update={"replicas": 1}) for group in result.plan.groups)
    broken = held(question, result.plan.model_copy(update={"groups": fewest}), "plan").broken
    assert any("is gone" in line for line in broken)


@pytest.mark.slow  # the load is raised until a limit is missed
def test_the_most_load_keeps_its_limits_and_more_is_bounded() -> None:
    question = asked(LOOP, objective="load", devices="h100-sxm:prefill=1@2 USD/h,a100-80-sxm:decode=1@1.1 USD/h")
    result = solve_pools(question, QUICK)
    assert result.value is not None
    assert result.bound is not None
    assert result.bound >= result.value
    assert result.plan is not None
    assert Shown.of(question, result.plan, FleetService(question), result.value).keeps_all


def test_units_of_both_phases_add_up_to_the_demand() -> None:
    question = asked()
    scenario = question.pools[0].instance.scenarios[0]
    slowest = slowest_of(scenario)
    fixed = planned(question, {"main": Pace(slowest)})
    prefill, decode = fixed.pools
    window = prefill.instance.scenarios[0].workload
    tokens = Tokens(slowest, slowest)
    assert float(prefill.units[0] * window.requests / fixed.demand[0]) == pytest.approx(1, rel=0.01)
    assert window.requests / (getattr(window, "window", 0) / 1e9) == pytest.approx(float(rate_of(scenario, tokens)))
    assert float(decode.units[0] * decoding_of(scenario, tokens) / fixed.demand[1]) == pytest.approx(1, rel=0.01)
    raised = planned(question, {"main": Pace(slowest, prefill=Fraction(2), decode=Fraction(2))})
    for pool, more in zip(fixed.pools, raised.pools, strict=True):
        assert pool.units[0] == pytest.approx(2 * more.units[0], rel=0.001)


def test_every_pace_lies_in_an_interval_of_the_bound_that_asks_no_more() -> None:
    question = asked()
    intervals = first_intervals(question)
    slowest = slowest_of(question.pools[0].instance.scenarios[0])
    assert intervals["main"][0][1] == slowest
    assert all(low == above for (low, _), (_, above) in zip(intervals["main"], intervals["main"][1:], strict=False))
    finer = {"main": halved(intervals["main"], slowest)}
    assert len(finer["main"]) == len(intervals["main"]) + 1
    for chosen in (intervals, finer):
        relaxed = bounded(question, chosen, 1)
        decodes = [pool for pool in relaxed.pools if pool.phase == "decode"]
        for token in (slowest, slowest / 2, slowest / 3):
            plan_of = planned(question, {"main": Pace(token)}).pools[1]
            at = next(place for place, (low, high) in enumerate(chosen["main"]) if low < token <= high)
            limit = decodes[at].instance.scenarios[0].limits.tpot
            assert limit is not None
            assert limit >= int(token)
            assert decodes[at].units[0] >= plan_of.units[0]


@pytest.mark.slow  # a bisection over played fleets
def test_sensitivity_says_how_far_limits_prices_and_demand_may_move() -> None:
    found = shardproof.sensitivity(TWO | {"workload": LOOP})
    assert isinstance(found, shardproof.FleetSensitivity)
    text = str(found)
    assert "the limit on ttft mean may fall to" in text
    assert "were not played" in text
    assert found.growth is not None
    assert found.growth >= 1
    kept = {row["limit"]: row["kept_until"] for row in found.limits}
    assert 0 < kept["ttft mean"] < 1e9
    tight = asked(limits={"ttft": "1 s", "tpot": f"{int(kept['tpot mean'] * 0.9)} ns"})
    assert not Shown.of(tight, plan(), FleetService(tight), None).keeps_all


def test_other_verbs_read_such_fleets() -> None:
    found = shardproof.predict(loop())
    assert [one.pool for one in found.predictions] == ["prefill", "decode"]
    assert found.exit_code == 0
    text = str(shardproof.explain(TWO | {"workload": LOOP}))
    assert "the decode pool costs most" in text
    assert "planned for the pace" in text
    files = shardproof.export(loop(), to="kubernetes").files
    assert sum(name.endswith("router.yaml") for name in files) == 1


@pytest.mark.slow  # two questions are searched to their end
def test_odd_questions_have_one_answer() -> None:
    with pytest.raises(InputError, match="in common"):
        asked(devices="h100-sxm:prefill=8", serving="any")
    with pytest.raises(InputError, match=r"limits\.ttft"):
        solve_pools(asked(limits={"tpot": "20 ms"}), QUICK)
    with pytest.raises(InputError, match="something to decode"):
        solve_pools(asked(LOOP | {"output_tokens": 1}), QUICK)
    slow = solve_pools(asked(transfer={"bandwidth": "0.1 GB/s"}), QUICK)
    assert (slow.status, slow.plan, slow.proof) == ("infeasible", None, "solver-claimed")
    few = solve_pools(asked(limits={"ttft": "1 s", "tpot": "20 ms", "max_gpus": 1}), QUICK)
    assert few.status == "infeasible"


@pytest.mark.slow  # a burst is solved, proved and checked
def test_a_certificate_of_a_burst_says_nothing_of_a_loop() -> None:
    certificate = shardproof.solve(TWO).certificate()
    assert certificate is not None
    with pytest.raises(InputError, match="no certificate"):
        shardproof.verify(certificate, TWO | {"workload": LOOP})
