"""Every restriction of the search space has a name, is printed, and is lifted where that makes sense."""

from __future__ import annotations

from typing import Any

import pytest

import shardproof
from shardproof.formulations.deployment.options import options_of
from shardproof.formulations.engines.rules import rules_of
from shardproof.formulations.restrictions import RESTRICTIONS, restrictions_of
from shardproof.instances.catalogue import load_model
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from tests.oracles.places import ROOT


def thirds(**changes: Any) -> Instance:
    """One prompt to a model whose 24 heads three GPUs can share; times of stages follow the GPUs alone."""
    model = load_model("qwen3-8b")
    kinds = {
        name: layer.model_copy(update={"attention": layer.attention.model_copy(update={"heads": 24, "kv_heads": 24})})
        for name, layer in model.kinds.items()
    }
    tree = {
        "model": model.model_copy(update={"kinds": kinds}),
        "device": "h100-sxm",
        "efficiency": "flat",
        "workload": {"kind": "burst", "batch_size": 1, "input_tokens": 512, "output_tokens": 128},
        "limits": {"ttft": "8 ms", "max_gpus": 8},
    }
    return resolve_tree(tree | changes, where="thirds")


LOOP = {"kind": "closed-loop", "concurrency": 8, "input_tokens": 512, "output_tokens": 128}


def widths(instance: Instance) -> set[int]:
    return {option.gpus for option in options_of(instance, rules_of(instance.engine))}


def test_stage_widths_of_any_number_of_a_nodes_gpus() -> None:
    assert widths(thirds()) == {1, 2, 4, 8}
    assert widths(thirds(stage_widths="any")) == set(range(1, 9))


def test_lifting_the_widths_saves_a_gpu_and_explain_says_so() -> None:
    narrow, free = shardproof.solve(thirds()), shardproof.solve(thirds(stage_widths="any"))
    assert (narrow.gpus, free.gpus) == (4, 3)
    assert free.proof == "certified-optimal"
    assert "with stage_widths: any 3 GPUs would do" in str(narrow.explain())
    assert "stage_widths" not in str(free.explain())
    assert shardproof.verify(free.certificate(), thirds(stage_widths="any"))
    assert not shardproof.verify(free.certificate(), thirds())


def test_a_restriction_that_is_lifted_is_not_assumed() -> None:
    assert any(line.startswith("stage_widths: ") for line in shardproof.solve(thirds()).assumptions)
    assert not any(
        line.startswith("stage_widths: ") for line in shardproof.solve(thirds(stage_widths="any")).assumptions
    )


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, {"stage_widths", "contiguous_layers", "same_degrees", "same_layout", "equal_microbatches"}),
        ({"engine": "vllm", "stage_widths": "any"}, {"chunk_sizes", "memory_utilisation", "equal_microbatches"}),
        ({"limits": {"ttft": "8 ms", "max_gpus": 16}}, {"spanning_replicas"}),
        ({"engine": "vllm", "workload": LOOP}, {"loop_chunks", "loop_microbatches"}),
    ],
)
def test_what_holds_is_printed_by_name(changes: dict[str, Any], names: set[str]) -> None:
    said = {line.partition(":")[0] for line in restrictions_of(thirds(**changes))}
    assert names <= said
    assert ("stage_widths" in said) == (changes.get("stage_widths") != "any")


def test_names_differ_and_are_documented() -> None:
    names = [one.name for one in RESTRICTIONS]
    assert len(set(names)) == len(names)
    page = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    assert [
        name
        for name in (*names, "replicas", "max_gpus", "max_stage_gpus", "whole_prompts")
        if f"| `{name}` |" not in page
    ] == []


def test_the_default_leaves_fingerprints_as_they_were() -> None:
    assert thirds().fingerprint != thirds(stage_widths="any").fingerprint
    assert "stage_widths" not in thirds().model_dump_json(exclude={"stage_widths"})
