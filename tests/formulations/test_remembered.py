"""Cells that are computed once for many questions: the same values, and none of another subject."""

from __future__ import annotations

from typing import Any

import pytest

from shardproof.formulations.deployment import remembered as memory
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import decode_step, own_prefill_step
from shardproof.formulations.deployment.remembered import Remembered, remembered
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree


def question(**changes: Any) -> Instance:
    tree: dict[str, Any] = {
        "model": "qwen3-8b",
        "device": "h100-sxm",
        "engine": "vllm",
        "workload": {"kind": "closed-loop", "concurrency": 24, "input_tokens": 1000, "output_tokens": 100},
        "limits": {"tpot": "30 ms", "max_gpus": 8},
    }
    return resolve_tree(tree | changes, where="case.yaml")


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_kept", [])


def cells(instance: Instance) -> list[object]:
    """Every time of a layer and of the ends, for both steps and links."""
    deployment, scenario = Deployment(instance), instance.scenarios[0]
    found: list[object] = []
    for option in deployment.options:
        for step in (own_prefill_step(scenario), decode_step(scenario, 5, None)):
            found += [deployment.layer_time(kind, option, step) for kind in deployment.kind_names]
            found += [deployment.end_times(option, step, link) for link in ("scale_up", "scale_out")]
    return found


def test_questions_that_differ_in_limits_and_load_share_their_cells() -> None:
    other = {"kind": "closed-loop", "concurrency": 60, "input_tokens": 1000, "output_tokens": 100}
    known = remembered(question())
    assert remembered(question(limits={"tpot": "20 ms", "max_gpus": 4}, workload=other)) is known


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "llama-3.1-8b"},
        {"device": "h200-sxm"},
        {"engine": "sglang"},
        {"efficiency": "flat"},
        {"precision": {"activations": "fp16"}},
    ],
)
def test_another_subject_has_cells_of_its_own(changes: dict[str, Any]) -> None:
    known = remembered(question())
    assert remembered(question(**changes)) is not known
    assert remembered(question()) is known


@pytest.mark.parametrize("changes", [{"engine": "sglang"}, {"efficiency": "flat"}, {"device": "h200-sxm"}])
def test_cells_are_those_of_a_first_question(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cells(question())
    after_another, again = cells(question(**changes)), cells(question(**changes))
    monkeypatch.setattr(memory, "_kept", [])
    assert after_another == again == cells(question(**changes))


def test_a_clock_of_the_callers_own_shares_nothing() -> None:
    class Slow:
        def picoseconds(self, operation: object) -> tuple[int, int]:
            return 10**9, 10**9

    burst = {"kind": "burst", "batch_size": 4, "input_tokens": 1000, "output_tokens": 100}
    instance = question(workload=burst, engine="any")
    step = decode_step(instance.scenarios[0], 4, None)
    usual, slow = Deployment(instance), Deployment(instance, clock=Slow())
    option, kind = usual.options[0], usual.kind_names[0]
    assert slow.layer_time(kind, option, step) != usual.layer_time(kind, option, step)


def test_a_store_that_grew_too_large_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    cells(question())
    full = remembered(question())
    assert full.layer
    assert full.ends
    monkeypatch.setattr(memory, "CELLS_AT_MOST", 3)
    assert remembered(question()) == Remembered.nothing(question().model.layer_count)


def test_only_the_latest_subjects_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "STORES", 1)
    known = remembered(question())
    remembered(question(engine="sglang"))
    assert remembered(question()) is not known


def test_versions_that_group_caches_differently_share_no_tables() -> None:
    """vLLM 0.8 keeps one kind of block for all layers of a model of which later versions make groups."""
    new, old = (Deployment(question(model="gemma-3-27b", engine=name)) for name in ("vllm", "vllm@0.8.5"))
    assert new.options == old.options
    assert new.kind_names != old.kind_names
    step = decode_step(new.instance.scenarios[0], 5, None)
    assert [len(each.time_table(step, "scale_up").layer[0]) for each in (new, old)] == [
        len(new.kind_names),
        len(old.kind_names),
    ]
