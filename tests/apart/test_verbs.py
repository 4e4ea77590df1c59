"""Verbs on pools apart: predict, audit, compare, explain, simulate, export, and the lines that start each pool."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

import shardproof
from shardproof.formulations.engines.rules import rules_of, runs_alone
from shardproof.instances.option import Option
from shardproof.instances.plan import Plan
from shardproof.solver.api.solved import Solved
from shardproof.solver.problem import deployment_of

QUESTION: dict[str, Any] = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "isl": 2048,
    "osl": 256,
    "batch_size": 64,
    "ttft": "2s",
    "tpot": "15ms",
    "max_gpus": 16,
}
LOOP: dict[str, Any] = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "engine": "vllm",
    "isl": 2048,
    "osl": 128,
    "concurrency": 48,
    "ttft": "500ms",
    "tpot": "20ms",
    "max_gpus": 8,
    "serving": "apart",
}


@cache
def solved(serving: str = "apart", engine: str = "vllm") -> Solved:
    found = shardproof.solve(**QUESTION, engine=engine, serving=serving)
    assert isinstance(found, Solved)
    return found


@cache
def looped() -> Solved:
    found = shardproof.solve(**LOOP)
    assert isinstance(found, Solved)
    return found


def test_predict_shows_each_pool_with_the_times_of_whole_requests() -> None:
    found = shardproof.predict(solved())
    assert found.exit_code == 0
    assert [one.pool for one in found.predictions] == ["prefill", "decode"]
    metrics = solved().metrics
    assert metrics is not None
    for one in found.predictions:
        assert one.ttft_s == pytest.approx(metrics.ttft_s)
        assert one.tpot_ms == pytest.approx(metrics.tpot_ms)
        assert one.throughput.requests_per_s == pytest.approx(metrics.requests_per_s)
        assert one.operations


def test_audit_confirms_a_plan_of_pools_and_finds_what_breaks() -> None:
    plan = solved().plan
    assert plan is not None
    assert shardproof.audit(plan, solved().instance).exit_code == 0
    late = shardproof.load_instance(**QUESTION, engine="vllm", serving="apart", transfer_setup="1s")
    assert shardproof.audit(plan, late).exit_code == 4
    played = looped()
    assert played.plan is not None
    assert shardproof.audit(played.plan, played.instance).exit_code == 0


def test_compare_sets_a_plan_of_pools_beside_the_optimum() -> None:
    plan = solved().plan
    assert plan is not None
    prefill, decode = plan.groups
    wasteful = plan.model_copy(
        update={"groups": (prefill.model_copy(update={"replicas": prefill.replicas + 2}), decode), "replicas": 5}
    )
    found = shardproof.compare(wasteful, instance=solved().instance)
    assert found.optimum.gpus == 3
    assert [column.gpus for column in found.columns] == [5, 3]


@pytest.mark.parametrize("serving", ["apart", "any"])
def test_explain_speaks_of_each_pool(serving: str) -> None:
    text = str(solved(serving).explain())
    assert "the prefill pool:" in text
    if serving == "any":
        assert "prefill and decode together:" in text


def test_a_played_plan_is_explained_by_its_service() -> None:
    text = str(looped().explain())
    assert "ttft mean in service" in text
    assert looped().certificate() is None


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("vllm", ("--kv-transfer-config", "NixlConnector")),
        ("sglang", ("--disaggregation-mode prefill", "--disaggregation-mode decode")),
        ("trtllm", ("cache_transceiver_config", "disable_overlap_scheduler: true")),
    ],
)
def test_lines_start_each_pool(engine: str, words: tuple[str, ...]) -> None:
    text = "\n".join(solved(engine=engine).engine_flags)
    assert "group 0, prefill pool" in text
    assert "group 1, decode pool" in text
    assert all(word in text for word in words)


def test_simulate_and_export_take_plans_of_pools() -> None:
    shown = shardproof.simulate(looped(), seeds=1)
    assert shown.outcomes[0].figure("ttft", None).value < 500e6
    files = shardproof.export(solved(), to="dynamo").files
    assert any("prefill" in text and "decode" in text for text in files.values())


def test_vllm_runs_no_pipelines_in_pools() -> None:
    rules, option = rules_of("vllm"), Option(1, 1, 1, 1)
    assert not runs_alone(shardproof.load_instance(**QUESTION, engine="vllm"), option, rules)
    for group in (solved().plan or Plan.model_construct()).groups:
        assert len(group.stages) == 1


def test_other_verbs_ask_for_together() -> None:
    with pytest.raises(shardproof.InputError, match="serving"):
        deployment_of(replace(solved()).instance)
