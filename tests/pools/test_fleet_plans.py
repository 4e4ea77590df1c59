"""Plans of fleets that were written by others: what is not of the question is refused by name, in every verb."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import shardproof
from benchmarks.fuzz.answers import MIXED, SERVED
from benchmarks.fuzz.questions import BURST, POOLS
from shardproof.instances.errors import InputError
from shardproof.instances.fleet_plan import FleetPlan
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.reading import validate
from shardproof.solver.api.question import asked_from
from shardproof.solver.pools.held import held

BOTH = [{"name": name, "requests": 1} for name in ("short", "long")]


def with_group(**fields: Any) -> dict[str, Any]:
    """The served fleet with other fields in its first group."""
    tree = copy.deepcopy(SERVED)
    tree["groups"][0] |= fields
    return tree


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pool": "elsewhere"}, "groups.pool: elsewhere: is no pool of the question"),
        (
            {"takes": [{"name": name, "requests": 1} for name in ("short", "long")]},
            "groups.takes.name: long: the pool short on h100-sxm",
        ),
        ({"replicas": 10**18}, "groups.0.replicas: 1000000000000000000: must be less than"),
        ({"takes": [{"name": "short", "requests": -3}]}, "groups.0.takes.0.requests: -3: must be greater than"),
    ],
)
def test_what_is_not_of_the_question_is_refused(fields: dict[str, Any], said: str) -> None:
    plan = with_group(**fields)
    for verb in (shardproof.predict, shardproof.simulate, lambda *both: shardproof.export(*both, to="vllm")):
        with pytest.raises(InputError) as refused:
            verb(plan, POOLS)
        assert said in str(refused.value)


def test_a_plan_of_another_model_is_held_against_nothing() -> None:
    tree = with_group()
    tree["groups"][0]["plan"]["stages"][0]["layers"] = [0, 62]
    asked = asked_from(POOLS, {})
    assert isinstance(asked, PoolsQuestion)
    with pytest.raises(InputError, match="the plan is of 63 layers, qwen3-8b has 36"):
        held(asked, validate(FleetPlan, tree, where="plan"), "plan")


@pytest.mark.parametrize("taken", [{}, {"requests": 0}])
@pytest.mark.parametrize("target", ["vllm", "kubernetes"])
def test_a_group_that_takes_no_requests_is_not_exported(taken: dict[str, int], target: str) -> None:
    with pytest.raises(InputError, match=r"groups.takes: short on h100-sxm under vllm: takes no requests"):
        shardproof.export(with_group(takes=[{"name": "short", **taken}]), POOLS, to=target)


def test_a_group_that_takes_no_requests_shows_none() -> None:
    asked = asked_from(POOLS, {})
    assert isinstance(asked, PoolsQuestion)
    idle = with_group(takes=[{"name": "short", "requests": 0}])
    found = held(asked, validate(FleetPlan, idle, where="plan"), "plan")
    assert any("0.0% of short is carried" in text for text in found.broken)


def test_a_plan_of_more_replicas_than_any_fleet_is_refused() -> None:
    tree = {**SERVED["groups"][0]["plan"], "replicas": 2**63}
    question = {"model": "qwen3-8b", "device": "h100-sxm", "engine": "vllm", "workload": POOLS["models"][0]["workload"]}
    with pytest.raises(InputError, match="replicas: 9223372036854775808: must be less than"):
        shardproof.simulate(tree, question)


@pytest.mark.parametrize("share", [{"scenario": "elsewhere", "requests": 1}, {"requests": 0}])
def test_a_group_of_no_requests_of_the_question_is_refused(share: dict[str, Any], tmp_path: Path) -> None:
    plan = copy.deepcopy(MIXED)
    plan["groups"][0]["shares"] = [share]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan), encoding="utf-8")
    asked = {**BURST, "engine": "vllm"}
    for verb in (shardproof.audit, shardproof.predict, lambda *both: shardproof.export(*both, to="vllm")):
        with pytest.raises(InputError, match="requests of no scenario; the question has main"):
            verb(path, asked)


def test_an_unknown_target_is_named_in_short() -> None:
    with pytest.raises(InputError, match="is no target") as refused:
        shardproof.export(SERVED, POOLS, to="x" * 30_000)
    assert len(str(refused.value)) < 1000
