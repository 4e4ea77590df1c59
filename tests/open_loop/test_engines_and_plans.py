"""Open questions under any engine take the best of all; a plan's microbatch and memory are read alike by every verb."""

from __future__ import annotations

from typing import Any

import pytest

import shardproof
from shardproof.instances.plan import Plan
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.open_loop.evaluated import evaluate_any, service_of
from shardproof.solver.writers.served import answered
from shardproof.solver.writers.terminal import render_result

QUESTION: dict[str, Any] = {
    "model": "llama-3.2-1b-instruct",
    "device": "l4",
    "engine": "vllm",
    "workload": {"kind": "requests", "rate": "8/s", "input_tokens": 3000, "output_tokens": 60},
    "limits": {"ttft": {"p99": "2 s"}, "tpot": {"p99": "40 ms"}, "max_gpus": 6},
}


@pytest.fixture(scope="module")
def solved() -> Any:
    found = shardproof.solve(QUESTION)
    assert found.plan is not None
    return found


def edited(plan: Plan, **changes: Any) -> Plan:
    return plan.model_copy(update=changes)


def test_the_microbatch_of_a_plan_is_the_budget_of_its_rounds(solved: Any) -> None:
    deployment = service_of(solved.instance).deployment
    for tokens in (256, 4096):
        plan = edited(solved.plan, microbatch_tokens=tokens)
        engine = EnginePlan(deployment.instance, plan.parts[0])
        assert engine.launch(plan.stages[0].option).batched == tokens


def test_predict_and_audit_agree_on_an_edited_microbatch(solved: Any) -> None:
    small = edited(solved.plan, microbatch_tokens=256)
    predicted, audited = (
        shardproof.predict(small, solved.instance),
        shardproof.audit(small, solved.instance, completion=False),
    )
    broken = {item.group for item in predicted.metrics.violations}
    assert broken == {item.group for item in audited.violations} == {"ttft_p99[main]"}
    assert predicted.ttft_s > 2 * shardproof.predict(solved).ttft_s


def test_memory_is_checked_with_the_requests_that_run(solved: Any) -> None:
    evaluation = evaluate_any(solved.instance, solved.plan)
    (row,) = (check for check in evaluation.checks if check.group.startswith("memory"))
    assert row.value == solved.metrics.peak_memory_bytes


def test_limits_stand_beside_what_the_service_showed(solved: Any) -> None:
    text = render_result(solved.instance, solved.result, colour=False)
    assert "TTFT (p99 in service)" in text
    assert "TPOT (p99 in service)" in text
    assert "(limit 40.00 ms)" in text
    assert "8/s arrive" in text
    assert answered(solved.instance, 7.5).startswith("7.5 requests/s reached")


@pytest.mark.slow  # every engine's fleet is searched
def test_any_engine_is_the_best_of_all_that_run() -> None:
    limits = {"ttft": {"p99": "1 s"}, "tpot": {"p99": "30 ms"}, "max_gpus": 2}
    load = {"kind": "requests", "rate": "3/s", "input_tokens": 800, "output_tokens": 40}
    free = {"model": "llama-3.2-1b-instruct", "device": "l4", "workload": load, "limits": limits}
    found = shardproof.solve(free)
    assert found.plan is not None
    single = {name: shardproof.solve(free | {"engine": name}) for name in ("vllm", "sglang", "trtllm")}
    ranks = {name: (one.gpus, one.metrics.ttft_s) for name, one in single.items() if one.gpus is not None}
    best = min(ranks, key=lambda name: ranks[name])
    assert found.result.engine == best == found.plan.engine
    assert (found.gpus, found.metrics.ttft_s) == ranks[best]
    assert found.bound == min(one.bound for one in single.values() if one.bound is not None)
    assert {one.engine for one in found.result.engines if one.chosen} == {best}
    assert shardproof.predict(found).ttft_s == found.metrics.ttft_s


def test_any_engine_is_infeasible_where_all_are() -> None:
    load = {"kind": "requests", "rate": "90/s", "input_tokens": 800, "output_tokens": 40}
    limits = {"ttft": {"p99": "1 ms"}, "max_gpus": 2}
    found = shardproof.solve({"model": "llama-3.2-1b-instruct", "device": "l4", "workload": load, "limits": limits})
    assert found.status == "infeasible"
    assert found.bound is None
    assert resolve_tree(QUESTION, where="case").engine == "vllm"
