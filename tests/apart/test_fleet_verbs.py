"""Verbs on fleets whose phases stand on devices of their own: predict, simulate, export, explain, report."""

from __future__ import annotations

from functools import cache

import pytest
import yaml

import shardproof
from benchmarks.apart import forgeries
from shardproof.instances.fleet_plan import FleetPlan
from shardproof.solver.drawing.view import plan_view
from tests.oracles.apart_fleets import TWO

ONE = {"model": "qwen3-8b", "device": "h100-sxm", "engine": "vllm", "isl": 2048, "osl": 256, "batch_size": 64}
ONE |= {"ttft": "2s", "tpot": "15ms", "max_gpus": 16}


@cache
def solved() -> shardproof.SolvedFleet:
    found = shardproof.solve(TWO)
    assert isinstance(found, shardproof.SolvedFleet)
    return found


def plan() -> FleetPlan:
    found = solved().plan
    assert found is not None
    return found


def test_predict_gives_both_pools_the_times_of_whole_requests() -> None:
    found = shardproof.predict(solved())
    metrics = solved().metrics
    assert metrics is not None
    assert metrics.ttft_s is not None
    assert metrics.tpot_ms is not None
    assert [one.pool for one in found.predictions] == ["prefill", "decode"]
    assert {(one.ttft_s, one.tpot_ms) for one in found.predictions} == {(metrics.ttft_s, metrics.tpot_ms)}
    assert found.exit_code == 0
    for one in found.predictions:
        assert one.throughput.requests_per_s == pytest.approx(24 / (metrics.ttft_s + 255 * metrics.tpot_ms / 1e3))
        assert one.throughput.output_tokens_per_s_per_user == pytest.approx(1e3 / metrics.tpot_ms)
    half = plan().model_copy(update={"groups": plan().groups[:1]})
    for verb in (shardproof.predict, shardproof.simulate):
        with pytest.raises(shardproof.InputError, match="lacks replicas of one phase"):
            verb(half, TWO)
    assert "keeps every rule and limit" in found.verdict
    assert shardproof.predict(plan(), TWO | {"limits": {"ttft": "500 ms", "tpot": "20 ms"}}).exit_code == 4


def test_simulate_plays_both_devices_and_the_link_between_them() -> None:
    (fast,) = shardproof.simulate(solved()).outcomes
    assert len(fast.runs[0].finished) == 24
    assert fast.figure("ttft", 100).value < 1e9
    (slow,) = shardproof.simulate(plan(), TWO | {"transfer": {"setup": "300 ms"}}).outcomes
    assert slow.figure("ttft", 100).value > fast.figure("ttft", 100).value + 3 * 300e6
    with pytest.raises(shardproof.InputError, match="question"):
        shardproof.simulate(plan(), **ONE)


def test_export_writes_each_pool_for_its_device_behind_one_router() -> None:
    files = shardproof.export(solved(), to="kubernetes").files
    pools = {
        pool: next(text for name, text in files.items() if f"-{pool}.yaml" in name) for pool in ("prefill", "decode")
    }
    assert "H100" in pools["prefill"]
    assert "A100" not in pools["prefill"]
    assert "A100" in pools["decode"]
    assert sum(name.endswith("router.yaml") for name in files) == 1
    for text in pools.values():
        assert "NixlConnector" in text
        assert all(tree["kind"] for tree in yaml.safe_load_all(text))
    assert any("--attention-backend" in text for name, text in files.items() if name.endswith("README.md"))
    seats = next(
        text for name, text in shardproof.export(solved(), to="vllm").files.items() if name.endswith("seats.tsv")
    )
    hosts = [row.split("\t")[:2] for row in seats.splitlines()[1:]]
    assert len({host for host, _ in hosts}) == 2  # an H100 and an A100 share no host


def test_explain_says_which_pool_costs_what_and_what_is_sent() -> None:
    text = str(shardproof.explain(TWO))
    assert "the prefill pool 2 USD/h, the decode pool 1.1 USD/h" in text
    assert "268.4 MB, takes 13.43 ms to the decode pool" in text
    assert "decode replicas costs 1.1 USD/h" in text


def test_a_report_shows_pools_of_one_device_and_of_several() -> None:
    several = plan_view(solved().to_dict(), {})["groups"]
    assert [group["phase"] for group in several] == ["prefill", "decode"]
    assert all(group["view"]["stages"] for group in several)
    one = shardproof.solve(**ONE, serving="apart")
    groups = plan_view(one.to_dict(), {})["groups"]
    assert [group["phase"] for group in groups] == ["prefill", "decode"]
    assert [group["gpus"] for group in groups] == [group.gpus for group in one.plan.groups]


@pytest.mark.slow  # a bisection over solved questions
def test_sensitivity_knows_the_link_and_says_what_is_not_proved() -> None:
    found = shardproof.sensitivity(**ONE, serving="apart", only="transfer bandwidth")
    (row,) = found.rows()
    assert row["name"] == "transfer bandwidth"
    assert row["plan_until"] == row["optimum_until"]
    assert 10**9 < row["optimum_until"] < 40 * 10**9
    slower = shardproof.solve(**ONE, serving="apart", transfer_bandwidth=f"{row['optimum_until']} B/s")
    too_slow = shardproof.solve(**ONE, serving="apart", transfer_bandwidth=f"{row['refuted_beyond'] - 1} B/s")
    assert (slower.gpus, too_slow.gpus) == (3, 4)


@pytest.mark.slow  # a bisection over plans that are played
def test_sensitivity_plays_pools_of_requests_that_keep_coming() -> None:
    loop = {key: value for key, value in ONE.items() if key != "batch_size"}
    found = shardproof.sensitivity(**loop, concurrency=48, serving="apart", only="concurrency")
    (row,) = found.rows()
    assert row["plan_until"] > 48
    assert row["refuted_beyond"] >= row["plan_until"]
    asked = loop | {"concurrency": row["plan_until"], "serving": "apart"}
    plan = found.plan
    assert plan is not None
    (kept,) = shardproof.simulate(plan, **asked).outcomes
    (missed,) = shardproof.simulate(plan, **asked | {"concurrency": row["plan_until"] * 11 // 10}).outcomes
    assert kept.figure("tpot", None).value <= 15e6
    assert missed.figure("tpot", None).value > 15e6 or missed.figure("ttft", None).value > 2e9
    most = shardproof.solve(
        **loop | {"max_gpus": found.gpus}, concurrency=row["refuted_beyond"] * 11 // 10, serving="apart"
    )
    assert most.plan is None


@pytest.mark.slow  # both ways of a question are answered
def test_either_way_is_said_to_be_either_and_one_offer_is_asked_for_mixes() -> None:
    loop = {key: value for key, value in ONE.items() if key not in ("batch_size", "device")}
    loop |= {"concurrency": 48, "serving": "any"}
    one = shardproof.solve(**loop, device="h100-sxm")
    assert any("mixes too" in line for line in one.assumptions)
    many = shardproof.solve(**loop, devices="h100-sxm=16")
    assert one.gpus is not None
    assert many.gpus is not None
    assert many.gpus <= one.gpus


@pytest.mark.slow  # four questions solved, and a hundred certificates changed and compared with them
def test_no_forged_certificate_is_accepted_with_a_false_claim() -> None:
    accepted, false = forgeries(100)
    assert false == 0
    assert accepted < 50
