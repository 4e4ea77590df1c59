"""Where no engine is named, the answer is the best of all of them, and says which; each is proved."""

from __future__ import annotations

import json
from typing import Any

import pytest

import shardproof
from shardproof.instances.engine_choice import NAMED, question_of, under_engine
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.api.solved import Solved

BURST: dict[str, Any] = {"isl": 2048, "osl": 1024, "batch_size": 4, "ttft": "3s"}
QUESTIONS: dict[str, dict[str, Any]] = {
    "an engine needs fewer": {"model": "mixtral-8x7b", "device": "b200-sxm", **BURST, "tpot": "10ms"}
    | {"confidence": "80%", "margin": "5%"},
    "an engine is faster": {"model": "qwen3-8b", "device": "h100-sxm", **BURST, "batch_size": 32, "ttft": "1s"},
    "none is better": {"model": "qwen3-8b", "device": "l40s", **BURST, "efficiency": "flat", "batch_size": 7},
    "a closed loop": {"model": "qwen3-8b", "device": "h100-sxm", "isl": 512, "osl": 128, "concurrency": 16}
    | {"tpot": "20ms"},
    "no plan": {"model": "qwen3-8b", "device": "h100-sxm", **BURST, "max_gpus": 1, "ttft": "1ms"},
    "only one runs there": {"model": "qwen3-8b", "device": "gaudi3", **BURST},
}


def figures(answer: Solved) -> tuple[float, float]:
    return answer.gpus or float("inf"), answer.metrics.ttft_s if answer.metrics else float("inf")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in QUESTIONS])
def test_any_is_never_worse_than_a_named_engine(name: str) -> None:
    """Slow: each question is solved under any engine and under all of them."""
    asked = QUESTIONS[name]
    best = shardproof.solve(**asked)
    named = {}
    for engine in NAMED:
        try:
            named[engine] = shardproof.solve(**asked, engine=engine)
        except shardproof.InputError:
            assert next(one for one in best.result.engines if one.engine == engine).note
    assert all(figures(best) <= figures(other) for other in named.values())
    if best.result.engine in named:
        assert figures(best) == figures(named[best.result.engine])
    assert best.bound == min((one.bound for one in best.result.engines if one.bound is not None), default=None)
    assert best.proof == "certified-optimal"


def test_the_answer_says_which_engine() -> None:
    answer = shardproof.solve(**QUESTIONS["an engine needs fewer"])
    assert (answer.gpus, answer.result.engine) == (2, "sglang")
    assert answer.plan is not None
    assert answer.plan.engine == answer.instance.engine == answer.to_dict()["engine"] == "sglang"
    assert "engine any takes the best: sglang, 2 GPUs" in answer.text()
    said = {one["engine"]: one["gpus"] or one["bound"] for one in answer.to_dict()["engines"]}
    assert said == {"any": 3, "vllm": 2, "sglang": 2, "trtllm": 3}
    assert answer.engine_flags


def test_each_engine_is_certified_for_the_question() -> None:
    asked = QUESTIONS["an engine needs fewer"]
    answer = shardproof.solve(**asked)
    found = answer.certificates()
    assert next(iter(found)) == "sglang"
    for engine, document in found.items():
        verdict = shardproof.verify(json.dumps(document).encode(), shardproof.load_instance(**asked))
        assert verdict, (engine, verdict.reason)
        assert document["claims"]["gpus"]["lower"] >= 2


def test_a_plan_is_judged_under_the_engine_that_it_names() -> None:
    asked = QUESTIONS["an engine needs fewer"]
    answer = shardproof.solve(**asked)
    assert answer.plan is not None
    assert answer.metrics is not None
    predicted = shardproof.predict(answer.plan, **asked)
    assert predicted.instance.engine == "sglang"
    assert predicted.predictions[0].ttft_s == answer.metrics.ttft_s


@pytest.mark.parametrize("reserve", [None, "3 GB"])
@pytest.mark.parametrize("engine", NAMED)
def test_a_question_under_an_engine_is_the_one_that_names_it(engine: Any, reserve: str | None) -> None:
    def asked(name: str) -> Instance:
        tree = {"model": "qwen3-8b", "device": "h100-sxm", "engine": name, "limits": {"ttft": "2 s"}}
        tree["workload"] = {"kind": "burst", "batch_size": 8, "input_tokens": 512, "output_tokens": 128}
        return resolve_tree(tree | ({"runtime_reserve": reserve} if reserve else {}), where="test")

    found = under_engine(asked("any"), engine)
    assert found == asked(engine)
    assert found.fingerprint == asked(engine).fingerprint


def test_a_stated_reserve_is_part_of_the_question() -> None:
    base = {"model": "qwen3-8b", "device": "h100-sxm", "isl": 512, "osl": 128, "batch_size": 8}
    left, stated = shardproof.load_instance(**base), shardproof.load_instance(**base, runtime_reserve="1 GB")
    assert left.runtime_reserve == stated.runtime_reserve
    assert left.fingerprint != stated.fingerprint


def test_plans_free_of_engines_keep_the_question() -> None:
    asked = shardproof.load_instance(**QUESTIONS["none is better"])
    answer = shardproof.solve(asked)
    assert answer.plan is not None
    assert answer.plan.engine == "any"
    assert answer.instance is asked
    assert question_of(asked, answer.plan) is asked
    assert "free of an engine's rules, 1 GPU" in " ".join(answer.text().split())


def test_an_engine_that_is_no_better_is_searched_no_further() -> None:
    answer = shardproof.solve(**QUESTIONS["none is better"])
    assert [one.ttft_s for one in answer.result.engines if not one.chosen] == [None] * 3
    assert "no faster" in answer.text()
