"""Open workloads: what may be said, that the bound is one, and that plans keep their limits when played anew."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from shardproof.formulations.open_loop import closed, promised_by
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from shardproof.instances.units import parse_rate
from shardproof.instances.workload import ClosedLoop, OpenLoop
from shardproof.solver.answer import answer as solve
from shardproof.solver.open_loop.judge import judged, within_margin
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.settings import Settings
from shardproof.solver.simulation.simulate import Service, SimulationSettings, simulate


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
    question = asked()
    shown = judged(question, answer.plan, Service(question, SimulationSettings(seeds=5, seed=1000)))
    assert all(verdict.found.value <= verdict.limit for verdict in shown.verdicts)


def test_higher_rates_never_need_fewer_gpus() -> None:
    answers = [solve(asked(rate, limits={"max_gpus": 4}), settings=Settings()) for rate in ("1/s", "12/s", "30/s")]
    bounds = [found.bound for found in answers]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]
    assert all(found.gpus is None or found.bound <= found.gpus for found in answers)


def test_a_first_token_faster_than_its_own_prefill_is_refused_by_the_bound() -> None:
    found = solve(asked(limits={"ttft": {"p99": "1 ms"}}), settings=Settings())
    assert found.status == "infeasible"
    assert found.plan is None


def test_a_budget_that_is_too_small_is_refused() -> None:
    found = solve(asked("60/s", limits={"max_gpus": 2}), settings=Settings())
    assert found.status == "infeasible"


def test_a_burst_beside_it_is_kept_too() -> None:
    burst = {"kind": "burst", "batch_size": 8, "input_tokens": 2000, "output_tokens": 10}
    both = resolve_tree(
        {
            "model": "qwen3-8b",
            "device": "h100-sxm",
            "engine": "vllm",
            "scenarios": [
                {"name": "burst", "workload": burst, "limits": {"ttft": "2 s"}},
                {
                    "name": "open",
                    "workload": {"kind": "requests", "rate": "2/s", "input_tokens": 2000, "output_tokens": 100},
                    "limits": {"ttft": {"p99": "2 s"}, "tpot": {"p99": "40 ms"}},
                },
            ],
            "limits": {"max_gpus": 4},
        },
        where="case.yaml",
    )
    found = solve(both, settings=Settings())
    assert found.plan is not None
    assert {item.scenario for item in found.plan.microbatches} == {"burst", "open"}


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


def test_a_share_of_good_requests_is_one_share_for_all_its_limits() -> None:
    question = asked(limits={"ttft": "2 s", "tpot": "40 ms", "goodput": "90%"}).scenarios[0]
    needs = promised_by(question.model_copy(update={"limits": question.limits.model_copy(update={"percentiles": ()})}))
    (first,), (token,) = needs.first, needs.token
    assert needs.both(first, token) == Fraction(9, 10)
    apart = promised_by(asked().scenarios[0])
    assert apart.both(apart.first[0], apart.token[0]) == Fraction(98, 100)


def test_the_engine_is_set_up_for_one_request_in_flight_or_as_many_as_are_told() -> None:
    loops = [closed(asked(), flight).scenarios[0].workload for flight in (None, {"main": 7})]
    assert [loop.requests for loop in loops] == [1, 7]
    assert all(isinstance(loop, ClosedLoop) for loop in loops)


def test_answers_of_one_token_have_no_time_per_token() -> None:
    found = solve(asked("2/s", workload={"output_tokens": 1}), settings=Settings())
    assert found.plan is not None
    assert found.to_json()["service"][0]["itl_ms"]["p99"]["value"] is None


def test_a_margin_comes_off_the_limits() -> None:
    question = asked().model_copy(update={"margin": Fraction(1, 4)})
    limits = within_margin(question).scenarios[0].limits
    assert [item.limit for item in limits.percentiles] == [1_600_000_000, 32_000_000]
    assert within_margin(asked()) == asked()


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


def test_the_program_of_a_closed_question_refuses_an_open_one() -> None:
    with pytest.raises(InputError, match="asks for a burst or a closed loop"):
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
