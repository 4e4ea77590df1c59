"""The next best answers: each is what its own question says, ranked within its kind, and nothing else changes."""

from __future__ import annotations

import pytest

import shardproof
from shardproof.instances.catalogue import load_model, siblings
from shardproof.instances.resolve import merge

pytestmark = pytest.mark.slow  # one question next to each device, layout, format and engine is solved

QUESTION = {
    "model": "qwen3-30b-a3b",
    "device": "a100-80-sxm",
    "engine": {"name": "vllm"},
    "workload": {"kind": "burst", "input_tokens": 1024, "output_tokens": 128, "batch_size": 64},
    "limits": {"ttft": "6 s", "max_gpus": 8},
}


@pytest.fixture(scope="module")
def solved() -> shardproof.Solved:
    found = shardproof.solve(QUESTION, top=2)
    assert isinstance(found, shardproof.Solved)
    return found


def test_each_is_the_answer_of_its_own_question(solved: shardproof.Solved) -> None:
    """The fields that an alternative names ask it: same GPUs, same bound, same first token."""
    assert {item.kind for item in solved.alternatives} >= {"format", "layout", "engine", "device"}
    for item in solved.alternatives:
        asked = merge(QUESTION, item.changes)
        again = shardproof.solve(asked)
        assert (again.gpus, again.bound) == (item.gpus, item.bound), item
        assert again.metrics is not None
        assert again.metrics.ttft_s == item.ttft_s, item


def test_ranked_within_the_kind(solved: shardproof.Solved) -> None:
    """Two of each kind at most; fewest GPUs first, cheapest first where price is the kind."""
    for kind in {item.kind for item in solved.alternatives}:
        rows = [item for item in solved.alternatives if item.kind == kind]
        assert len(rows) <= 2
        order = [(item.price_per_hour_usd if kind == "cheaper" else item.gpus) for item in rows]
        assert order == sorted(order)  # type: ignore[type-var]


def test_text_and_document_show_them(solved: shardproof.Solved) -> None:
    """Terminal within 80 columns, JSON with the fields that ask each."""
    text = solved.text()
    assert "Next best answers" in text
    assert max(map(len, text.splitlines())) <= 80
    assert len(solved.to_dict()["alternatives"]) == len(solved.alternatives)


def test_formats_are_those_of_the_same_weights() -> None:
    """Another checkpoint of the model, never another model of the same shape."""
    names = {model.name for model in siblings(load_model("deepseek-v3.1"))}
    assert "deepseek-v3.1-nvfp4" in names
    assert all(name.startswith("deepseek-v3.1-") for name in names)
    assert "deepseek-v3.1-terminus" not in names


def test_explain_names_formats_that_save() -> None:
    """Where FP8 weights or cache would do with fewer GPUs, `explain` says so."""
    explained = shardproof.explain(QUESTION | {"model": "qwen3-235b-a22b", "device": "h100-sxm"})
    assert any("qwen3-235b-a22b-fp8" in sentence and "instead of" in sentence for sentence in explained.alternatives)
