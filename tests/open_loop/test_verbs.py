"""Every verb answers questions of requests that come by themselves, and they agree with each other."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import shardproof
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.batch.carry import coordinates
from shardproof.solver.evaluation.figures import Check
from shardproof.solver.open_loop.evaluated import evaluate_any
from shardproof.solver.open_loop.search import fewest_gpus
from shardproof.solver.open_loop.slack import last_near, open_inputs

QUESTION: dict[str, Any] = {
    "model": "llama-3.2-1b-instruct",
    "device": "l4",
    "engine": "vllm",
    "workload": {"kind": "requests", "rate": "8/s", "input_tokens": 800, "output_tokens": 60},
    "limits": {"ttft": {"p99": "1 s"}, "tpot": {"p99": "30 ms"}, "max_gpus": 6},
}


@pytest.fixture(scope="module")
def solved() -> Any:
    found = shardproof.solve(QUESTION)
    assert found.plan is not None
    return found


@pytest.fixture(scope="module")
def played(solved: Any) -> Any:
    return shardproof.simulate(solved, seeds=1).to_dict()


def test_predict_says_what_solve_said(solved: Any) -> None:
    found = shardproof.predict(solved)
    assert found.ttft_s == solved.metrics.ttft_s
    assert found.tpot_ms == solved.metrics.tpot_ms
    assert found.exit_code == 0
    assert found.metrics.throughput.requests_per_s == pytest.approx(solved.metrics.requests_per_s)
    served = found.to_dict()["service"]
    assert served["ttft_ms"]["p99"]["value"] / 1e3 == pytest.approx(found.ttft_s)


def test_a_limit_that_the_service_misses_is_a_violation(solved: Any) -> None:
    tight = QUESTION | {"limits": {"ttft": {"p99": "1 s"}, "tpot": {"p99": "3 ms"}, "max_gpus": 6}}
    found = shardproof.predict(solved.plan, tight)
    assert found.exit_code == 4
    assert any(broken.group == "tpot_p99[main]" for broken in found.metrics.violations)
    audited = shardproof.audit(solved.plan, tight, completion=False)
    assert any(broken.group == "tpot_p99[main]" for broken in audited.violations)


def test_audit_confirms_what_solve_wrote(solved: Any) -> None:
    found = shardproof.audit(solved, completion=False)
    assert found.violations == ()
    evaluation = evaluate_any(solved.instance, solved.plan)
    names = {check.group for check in evaluation.checks if isinstance(check, Check)}
    assert {"ttft_p99[main]", "tpot_p99[main]"} <= names
    document = solved.document()
    assert document is not None
    assert "Request Rate: 8 requests per second" in document
    assert "TTFT p99 Requirement: 1000 ms" in document


def test_compare_sets_a_plan_beside_the_best(solved: Any) -> None:
    found = shardproof.compare(solved.plan, instance=solved)
    plan, best = found.columns
    assert plan.gpus == best.gpus == solved.gpus
    assert plan.ttft_s == best.ttft_s == solved.metrics.ttft_s
    assert found.exit_code == 0


def test_explain_says_what_refutes_fewer() -> None:
    narrow = QUESTION | {"limits": {"ttft": {"p99": "1 s"}, "tpot": {"p99": "30 ms"}, "max_gpus": 1}}
    busy = narrow | {"workload": QUESTION["workload"] | {"rate": "40/s"}}
    found = shardproof.explain(busy)
    assert found.result.status == "infeasible"
    assert any("busy" in reason for reason in found.reasons)
    slow = shardproof.explain(narrow | {"limits": {"tpot": {"p99": "1 ms"}, "max_gpus": 1}})
    assert any("one token takes" in reason for reason in slow.reasons)
    long = shardproof.explain(narrow | {"limits": {"ttft": {"p99": "1 ms"}, "max_gpus": 1}})
    assert any("first tokens take longer" in reason for reason in long.reasons)


def test_the_bound_alone_is_the_bound_of_solve(solved: Any) -> None:
    assert fewest_gpus(solved.instance, solved.gpus) <= solved.gpus
    assert fewest_gpus(solved.instance, solved.gpus) >= solved.bound


def test_inputs_of_a_service_worsen_one_by_one(solved: Any) -> None:
    found = {item.name: item for item in open_inputs(solved.instance)}
    assert {"rate", "input_tokens", "output_tokens", "ttft p99 limit", "tpot p99 limit"} <= set(found)
    rate, limit = found["rate"], found["tpot p99 limit"]
    assert rate.value == 8 * 3600
    assert rate.changed(7200).scenarios[0].workload.rate == 2
    assert limit.changed(10**6).scenarios[0].limits.percentiles[1].limit == 10**6
    longer = found["input_tokens"].changed(900).scenarios[0].workload
    assert (longer.input_tokens, longer.sequence_length_range) == (900, (1, 960))


@pytest.mark.parametrize("turn", [9000, 7, 10_001])
def test_the_last_good_value_is_found_to_a_percent(turn: int) -> None:
    instance = resolve_tree(QUESTION, where="case")
    limit = next(item for item in open_inputs(instance) if item.name == "tpot p99 limit")
    scaled = type(limit)("x", "ns", 10_000, True, limit.changed)

    found = last_near(lambda value: value >= turn, scaled, Fraction(1, 100))
    if turn > 10_000:
        assert found == 10_000
    elif turn == 7:
        assert found is None or found < 12
    else:
        assert found is not None
        assert turn <= found <= turn * 1.02


def test_questions_that_are_played_are_not_carried_over() -> None:
    one = resolve_tree(QUESTION, where="case")
    other = resolve_tree(QUESTION | {"limits": {"ttft": {"p99": "2 s"}, "tpot": {"p99": "30 ms"}}}, where="case")
    assert coordinates(one).rest != coordinates(other).rest


@pytest.mark.slow  # some twenty services are played
def test_sensitivity_of_a_service(solved: Any) -> None:
    found = shardproof.sensitivity(QUESTION, only=["ttft p99"])
    (slack,) = found.inputs
    assert slack.plan_until is None or slack.plan_until <= slack.value
    assert found.margin is None


@pytest.mark.parametrize("target", ["kubernetes", "dynamo", "vllm"])
def test_simulate_reads_what_predict_reads(solved: Any, played: Any, target: str, tmp_path: Path) -> None:
    shardproof.export(solved, to=target).write(tmp_path)
    (file,) = (path for path in tmp_path.iterdir() if path.suffix in (".yaml", ".sh"))
    command = next(line for line in solved.engine_flags if line.startswith("vllm serve"))
    assert shardproof.simulate(file, QUESTION, seeds=1).to_dict() == played
    assert shardproof.simulate(command, QUESTION, seeds=1).to_dict() == played
    assert shardproof.predict(file, QUESTION).ttft_s == shardproof.predict(command, QUESTION).ttft_s


LIGHT = QUESTION | {
    "workload": QUESTION["workload"] | {"rate": "4/s", "output_tokens": 20},
    "limits": QUESTION["limits"] | {"max_gpus": 2},
}
LAUNCHES = {
    "vllm": "vllm serve meta-llama/Llama-3.2-1B-Instruct --tensor-parallel-size 1 --max-model-len 860",
    "sglang": "python -m sglang.launch_server --model-path meta-llama/Llama-3.2-1B-Instruct --tp-size 1",
}
FLAGS = {
    "vllm": ("--max-num-seqs", "--max-num-batched-tokens"),
    "sglang": ("--max-running-requests", "--chunked-prefill-size"),
}


@pytest.mark.parametrize("engine", LAUNCHES)
@pytest.mark.parametrize(
    ("sequences", "batched"),
    [(2, 2048), pytest.param(64, 128, marks=pytest.mark.slow(reason="long runs of many requests are played"))],
)
def test_a_launch_is_played_with_its_own_settings(engine: str, sequences: int, batched: int) -> None:
    first, second = FLAGS[engine]
    asked = LIGHT | {"engine": engine}
    launch = f"{LAUNCHES[engine]} {first} {sequences} {second} {batched}"
    told = shardproof.predict(LAUNCHES[engine], asked, max_num_seqs=sequences, max_num_batched_tokens=batched)
    found = shardproof.predict(launch, asked)
    assert (found.ttft_s, found.tpot_ms) == (told.ttft_s, told.tpot_ms)
    audited = shardproof.audit(launch, asked, completion=False).audit.context.best
    assert audited is not None
    assert audited.plan.gpus == found.plan.gpus
    assert (audited.evaluation.ttft / 1e9, audited.evaluation.tpot / 1e6) == (found.ttft_s, found.tpot_ms)


def test_audit_and_compare_see_a_launch_that_runs_one_request_at_a_time() -> None:
    launch = f"{LAUNCHES['vllm']} --max-num-seqs 1 --max-num-batched-tokens 860"
    alone = LIGHT | {"limits": LIGHT["limits"] | {"max_gpus": 1}}
    audited = shardproof.audit(launch, alone, completion=False)
    assert audited.exit_code == 4
    assert any(broken.group.startswith(("ttft_p99", "load")) for broken in audited.violations)
    (column,) = shardproof.compare(launch, instance=shardproof.solve(LIGHT)).columns[:-1]
    assert column.ttft_s == pytest.approx(shardproof.predict(launch, LIGHT).ttft_s)


def test_a_flag_outranks_the_launch_and_the_launch_the_question() -> None:
    launch = f"{LAUNCHES['vllm']} --max-num-seqs 2"
    own = shardproof.predict(launch, LIGHT)
    asked = LIGHT | {"engine": {"name": "vllm", "max_num_seqs": 64}}
    assert shardproof.predict(launch, asked).ttft_s == own.ttft_s
    wide = shardproof.predict(launch, LIGHT, max_num_seqs=64)
    assert wide.ttft_s == shardproof.predict(LAUNCHES["vllm"], LIGHT, max_num_seqs=64).ttft_s
    assert wide.ttft_s < own.ttft_s


def test_a_plan_of_a_launch_keeps_its_settings(tmp_path: Path) -> None:
    launch = f"{LAUNCHES['vllm']} --max-num-seqs 3 --max-num-batched-tokens 1024"
    made = shardproof.export(launch, LIGHT, to="vllm")
    scripts = [text for name, text in made.files.items() if name.startswith("llama") and name.endswith(".sh")]
    assert scripts
    assert all(" --max-num-batched-tokens 1024 --max-num-seqs 3 " in text for text in scripts)
    made.write(tmp_path)
    played = shardproof.predict(launch, LIGHT)
    assert shardproof.predict(tmp_path / "plan.json", LIGHT).ttft_s == played.ttft_s
    best = shardproof.audit(tmp_path / "plan.json", LIGHT, completion=False).audit.context.best
    assert best is not None
    assert best.evaluation.ttft / 1e9 == played.ttft_s
