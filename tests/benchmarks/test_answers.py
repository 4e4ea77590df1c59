"""Answers kept before a change and compared after it."""

from __future__ import annotations

from itertools import islice

from benchmarks.answers import answered, difference, questions

FOUND = {
    "status": "optimal",
    "proof": "certified-optimal",
    "stop_reason": "proved",
    "gpus": 3,
    "bound": 3,
    "levels": {"gpus": [3, 3], "ttft": [100, 99]},
    "engine": "vllm",
}


def test_a_seed_draws_the_same_questions() -> None:
    first = list(islice(questions(5), 30))
    assert first == list(islice(questions(5), 30))
    assert first != list(islice(questions(6), 30))
    assert {"burst", "closed-loop"} <= {one["workload"]["kind"] for one in first if "workload" in one}
    assert any("scenarios" in one for one in first)


def test_proved_answers_are_the_same_integers() -> None:
    assert difference(FOUND, {**FOUND}) is None
    assert difference(FOUND, {**FOUND, "plan": None}) is None
    told = difference(FOUND, {**FOUND, "levels": {"gpus": [3, 3], "ttft": [100, 98]}})
    assert told is not None
    assert told.startswith("levels:")


def test_open_answers_may_differ_but_not_contradict() -> None:
    late = {**FOUND, "stop_reason": "time-limit", "status": "feasible", "gpus": 4, "bound": 2}
    assert difference(FOUND, late) is None
    more = {**FOUND, "bound": 5, "gpus": 5}
    assert difference(more, late) == "a plan of 4 GPUs against optimal, bound 5"
    assert difference({**FOUND, "status": "infeasible", "gpus": None, "bound": None}, late) is not None


def test_a_question_is_answered_or_refused() -> None:
    burst = {"kind": "burst", "batch_size": 4, "input_tokens": 128, "output_tokens": 16}
    asked = {"model": "qwen3-8b", "device": "h100-sxm", "engine": "vllm", "workload": burst, "limits": {"max_gpus": 2}}
    found = answered(asked, 1, 60.0)
    assert found is not None
    assert (found["status"], found["gpus"], found["levels"]["gpus"]) == ("optimal", 1, [1, 1])
    assert answered({**asked, "engine": "trtllm", "device": "mi300x"}, 1, 60.0) is None
