"""Degrees that a question fixes: the plan has them, every verb judges them, and what leaves none is said."""

from __future__ import annotations

import pytest

import shardproof

QUESTION = {
    "model": "qwen3-235b-a22b-fp8",
    "device": "h100-sxm",
    "engine": "vllm",
    "isl": 2048,
    "osl": 256,
    "batch_size": 8,
    "max_gpus": 16,
}


@pytest.mark.parametrize(("degrees", "gpus"), [({"tp": 8}, 8), ({"tp": 2, "ep": 4}, 4), ({"dp": 16}, 16)])
def test_the_plan_has_the_degrees(degrees: dict[str, int], gpus: int) -> None:
    """Fewest GPUs with the degrees that are fixed; a stage is as wide as they ask."""
    answer = shardproof.solve(**QUESTION, **degrees)  # type: ignore[arg-type]
    assert (answer.status, answer.gpus, answer.proof) == ("optimal", gpus, "certified-optimal")
    assert answer.plan is not None
    stage = answer.plan.stages[0]
    own = {"tp": stage.attn_tp, "dp": stage.attn_dp, "ep": stage.moe_ep}
    assert all(own[name] == degree for name, degree in degrees.items())


def test_no_option_names_the_rule() -> None:
    """A degree that the model's heads refuse is said with the rule, not left as an empty answer."""
    answer = shardproof.solve(**QUESTION, tp=3)  # type: ignore[arg-type]
    assert answer.status == "infeasible"
    assert any("'heads'" in sentence and "tensor parallel 3" in sentence for sentence in answer.result.explanation)


def test_a_plan_of_other_degrees_breaks_the_question() -> None:
    """`predict` judges a plan of the free question against the fixed one."""
    free = shardproof.solve(**QUESTION)  # type: ignore[arg-type]
    assert free.plan is not None
    judged = shardproof.predict(free.plan, **QUESTION, tp=8)  # type: ignore[arg-type]
    assert judged.exit_code == 4
    assert any("fixed" in violation for violation in map(str, judged.to_dict()["violations"]))
