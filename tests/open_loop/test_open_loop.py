"""Open workloads: what may be said, that the bound is one, and that plans keep their limits when played anew."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from shardproof.formulations.open_loop import closed, needs_of
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from shardproof.instances.units import parse_rate
from shardproof.instances.workload import ClosedLoop, OpenLoop
from shardproof.solver.analysis.limiting import fewest_gpus
from shardproof.solver.answer import answer as solve
from shardproof.solver.open_loop.judge import judged
from shardproof.solver.open_loop.solve import lower_bound
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import SimulationSettings, simulate


def asked(rate: str = "12/s", **changes: Any) -> Instance:
    tree: dict[str, Any] = {
        "model": "qwen3-8b",
        "device": "h100-sxm",
        "engine": "vllm",
        "workload": {"kind": "requests", "rate": rate, "input_tokens": 2000, "output_tokens": 200},
        "limits": {"ttft": {"p99": "2 s"}, "tpot": {"p99": "40 ms"}, "max_gpus": 8},
    }
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    return resolve_tree(tree, where="case.yaml")


@pytest.fixture(scope="module")
def answer() -> Any:
    return solve(asked(), settings=Settings())


def test_a_plan_is_given_bounded_and_played(answer: Any) -> None:
    assert answer.status in ("optimal", "feasible")
    assert 1 <= answer.bound <= answer.gpus
    assert answer.proof == "solver-claimed"
    assert answer.service[0]["ttft_ms"]["p99"]["high"] <= 2000
    assert answer.service[0]["tpot_ms"]["p99"]["high"] <= 40
    assert answer.metrics.ttft_s <= 2
    assert "service" in answer.to_json()


def test_the_plan_keeps_its_percentiles_in_other_runs(answer: Any) -> None:
    shown = judged(asked(), answer.plan, SimulationSettings(seeds=5, seed=1000))
    assert all(verdict.found.value <= verdict.limit for verdict in shown.verdicts)


def test_the_bound_lies_below_every_single_time_per_token() -> None:
    question = asked()
    bound, _ = lower_bound(question, 3)
    for token in (12_000_000, 40_000_000):
        exact = closed(question, fastest=Fraction(token), slowest=Fraction(token))
        needed = fewest_gpus(deployment_of(exact))
        assert needed is None or bound <= needed


def test_the_relaxation_of_an_interval_is_no_harder_than_a_point_in_it() -> None:
    question = asked("40/s")
    for low, high in ((10, 20), (20, 40)):
        whole = fewest_gpus(
            deployment_of(closed(question, fastest=Fraction(low * 10**6), slowest=Fraction(high * 10**6)))
        )
        inside = Fraction((low + high) * 500_000)
        point = fewest_gpus(deployment_of(closed(question, fastest=inside, slowest=inside)))
        assert point is None or (whole is not None and whole <= point)


def test_higher_rates_never_need_fewer_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardproof.solver.open_loop.solve.MOST_INTERVALS", 4)
    bounds = [lower_bound(asked(rate, limits={"max_gpus": 5}), 4)[0] for rate in ("1/s", "15/s", "60/s")]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]


def test_a_first_token_faster_than_its_own_prefill_is_refused_by_the_bound() -> None:
    impossible = asked(limits={"ttft": {"p99": "1 ms"}})
    assert lower_bound(impossible, impossible.max_gpus + 1)[0] == impossible.max_gpus + 1


def test_percentiles_are_written_in_both_ways() -> None:
    by_mapping = asked(limits={"ttft": {"p50": "300 ms", "p99": "2 s", "mean": "1 s"}}).scenarios[0].limits
    by_name = asked(limits={"ttft": "1 s", "ttft_p50": "300 ms", "ttft_p99": "2 s"}).scenarios[0].limits
    assert by_mapping == by_name
    assert {(item.figure, item.percent) for item in by_name.percentiles} == {("ttft", 50), ("ttft", 99), ("tpot", 99)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workload": {"kind": "burst", "batch_size": 2, "rate": None}}, "rate"),
        ({"workload": {"rate": "20"}}, "no rate with its unit"),
        ({"workload": {"rate": "-1/s"}}, "greater than 0"),
        ({"workload": {"input_tokens": {"p95": 10}}}, "mean or p50"),
        ({"limits": {"ttft_p0": "1 s"}}, "unknown field"),
        ({"limits": {"goodput": "99%", "ttft": None, "tpot": None}}, "goodput needs limits"),
        ({"workload": {"trace": "gone.csv"}}, "leave"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        asked(**changes)


def test_percentiles_of_a_burst_are_refused() -> None:
    burst = {"kind": "burst", "batch_size": 2, "input_tokens": 10, "output_tokens": 5}
    tree = {"model": "qwen3-8b", "device": "l4", "workload": burst, "limits": {"ttft_p99": "1 s"}}
    with pytest.raises(InputError, match="kind: requests"):
        resolve_tree(tree, where="case.yaml")


@pytest.mark.parametrize(
    ("text", "rate"), [("20/s", 20), ("1200/min", 20), ("3 requests per second", 3), ("7.2e3/h", 2)]
)
def test_rates_are_read_per_second(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


def test_a_share_of_good_requests_lowers_the_rate_that_must_keep_the_limits() -> None:
    question = asked(limits={"ttft": "2 s", "tpot": "40 ms", "goodput": "90%"})
    needs = needs_of(question.scenarios[0])
    assert needs.share == Fraction(9, 10)
    loop = closed(question, fastest=Fraction(10**7), slowest=Fraction(10**7)).scenarios[0].workload
    assert isinstance(loop, ClosedLoop)
    assert loop.concurrency == int(Fraction(9, 10) * 12 * 200 * Fraction(1, 100))


def test_a_trace_says_rate_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    rows = "".join(f"{second / 2},{100 + second},{10 + second % 3}\n" for second in range(41))
    path.write_text("time_s,input_tokens,output_tokens\n" + rows)
    question = asked(workload={"trace": str(path), "rate": None, "input_tokens": None, "output_tokens": None})
    load = question.scenarios[0].workload
    assert isinstance(load, OpenLoop)
    assert float(load.rate) == pytest.approx(2)
    assert load.input_tokens == 120
    assert load.sequence_length_range == (1, 151)
    path.write_text("time_s,input_tokens,output_tokens\n" + rows.replace("140,11", "141,11"))
    again = asked(workload={"trace": str(path), "rate": None, "input_tokens": None, "output_tokens": None})
    assert again.fingerprint != question.fingerprint


def test_other_verbs_name_what_they_can_answer() -> None:
    with pytest.raises(InputError, match="solve and simulate answer it"):
        deployment_of(asked())


def test_a_distribution_and_a_cache_are_played(answer: Any) -> None:
    question = asked(
        workload={"input_tokens": {"mean": 2000, "p95": 5000}, "output_tokens": 200, "prefix_cache_hit": "50%"}
    )
    cached = simulate(question, answer.plan, SimulationSettings(seeds=2, requests=400))[0]
    plain = simulate(
        asked(workload={"input_tokens": {"mean": 2000, "p95": 5000}}),
        answer.plan,
        SimulationSettings(seeds=2, requests=400),
    )[0]
    assert cached.figure("ttft", 50).value < plain.figure("ttft", 50).value
    lengths = {item.request.input_tokens for item in plain.runs[0].served}
    assert len(lengths) > 100
