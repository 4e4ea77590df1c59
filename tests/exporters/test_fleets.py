"""Fleets of several devices as files: one router where the target has one, and no two things of one name."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import yaml

import shardproof
from tests.exporters.test_printed_settings import TARGETS


@cache
def fleet() -> Any:
    asked: dict[str, Any] = {"isl": 800, "osl": 60, "concurrency": 16, "tpot": "30 ms", "objective": "load"}
    found = shardproof.solve(model="llama-3.2-1b-instruct", devices=["l4=1", "l40s=2"], engine="vllm", **asked)
    assert {group.device for group in found.plan.groups} == {"l4", "l40s"}
    return found


def trees(text: str) -> list[dict[str, Any]]:
    return [tree for tree in yaml.safe_load_all(text) if isinstance(tree, dict) and "metadata" in tree]


@pytest.mark.parametrize("target", sorted(TARGETS["vllm"]))
def test_all_files_of_a_fleet_can_be_applied_together(target: str) -> None:
    files = shardproof.export(fleet(), to=target).files
    found = [tree for name, text in files.items() if name.endswith(".yaml") for tree in trees(text)]
    named = [(tree["kind"], tree["metadata"]["name"]) for tree in found]
    assert len(named) == len(set(named))
    plans = [name for name in files if name.endswith("plan.json")]
    assert len(plans) == len(fleet().plan.groups)


def test_one_route_weighs_the_groups_by_what_they_take() -> None:
    files = shardproof.export(fleet(), to="kubernetes").files
    route = next(tree for text in files.values() for tree in trees(text) if tree["kind"] == "HTTPRoute")
    weights = [backend["weight"] for backend in route["spec"]["rules"][0]["backendRefs"]]
    takes = [group.replicas * group.takes[0].requests for group in fleet().plan.groups]
    assert weights[0] * takes[1] == weights[1] * takes[0]
    assert "each takes" in files["README.md"]
    assert "None" not in files["README.md"]
