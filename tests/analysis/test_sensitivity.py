"""Sensitivity: bisection ends at the last good value, and margins and curves are monotone."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.resolve import load_instance
from shardproof.solver.analysis import sensitivity
from shardproof.solver.analysis.inputs import Input, inputs_of
from shardproof.solver.analysis.sensitivity import (
    around,
    curve,
    enough,
    furthest,
    last_good,
    plan_holds,
    slack_of,
)
from shardproof.solver.commands.sensitivity import command
from shardproof.solver.evaluation.evaluate import evaluate, keeps_limits
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve
from tests.oracles.places import CASES

CASE = CASES / "qwen3-235b-a22b.yaml"


@pytest.fixture(scope="module")
def instance() -> Instance:
    return load_instance(CASE)


@pytest.fixture(scope="module")
def plan(instance: Instance) -> Plan:
    found = solve(instance, settings=Settings(explain=False, certify=False)).plan
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "falling", "end"), [(100, True, 37), (100, False, 5021), (7, True, 7), (7, False, 7)]
)
def test_bisection_is_exact(value: int, *, falling: bool, end: int) -> None:
    item = Input("x", "ns", value, falling, lambda _: None)  # type: ignore[arg-type, return-value]
    good = (lambda x: x >= end) if falling else (lambda x: x <= end)
    assert last_good(good, item) == end


def test_no_end_is_none() -> None:
    item = Input("x", "ns", 5000, True, lambda _: None)  # type: ignore[arg-type, return-value]
    assert last_good(lambda _: True, item) is None


@pytest.mark.parametrize("shows", [0, 1, 40, 700])
@pytest.mark.parametrize(("falling", "end"), [(True, 137), (True, 4999), (False, 5001), (False, 90_000)])
def test_what_is_shown_to_hold_shortens_the_way_to_the_same_end(shows: int, *, falling: bool, end: int) -> None:
    item = Input("x", "ns", 5000, falling, lambda _: None)  # type: ignore[arg-type, return-value]
    asked: list[int] = []

    def reach(value: int, is_open: bool) -> int | None:
        asked.append(value)
        good = value >= end if falling else value <= end
        further = shows if is_open else 0
        return None if not good else max(value - further, end) if falling else min(value + further, end)

    assert furthest(reach, item, 5000) == end
    assert len(asked) == len(set(asked)) < 40


NAMES = ["batch_size", "ttft limit", "mfu", "memory per device", "input_tokens"]


@pytest.mark.parametrize("name", NAMES if os.environ.get("SHARDPROOF_FULL") else NAMES[:1])
def test_one_more_breaks(instance: Instance, plan: Plan, name: str) -> None:
    item = next(item for item in inputs_of(instance) if item.name == name)
    slack = slack_of(item, plan, 5)
    worse = -1 if item.falling else 1
    assert slack.plan_until is not None
    assert slack.optimum_until is not None
    assert slack.refuted_beyond is not None
    assert plan_holds(item.changed(slack.plan_until), plan)
    assert not plan_holds(item.changed(slack.plan_until + worse), plan)
    assert enough(item.changed(slack.optimum_until), 5)
    assert not enough(item.changed(slack.optimum_until + worse), 5)
    assert not enough(item.changed(slack.refuted_beyond + worse), 5, floor=True)


@pytest.mark.parametrize("name", ["batch_size", "memory per device"])
def test_plans_that_show_it_and_decisions_alone_end_at_one_value(instance: Instance, plan: Plan, name: str) -> None:
    item = next(item for item in inputs_of(instance) if item.name == name)
    shown, decided = slack_of(item, plan, 5), slack_of(item, plan, 5, enough)
    assert shown == decided
    assert shown.optimum_until == last_good(lambda value: enough(item.changed(value), 5), item)


@pytest.mark.parametrize("name", ["mfu", "memory bandwidth", "memory per device", "output_tokens", "ttft limit"])
def test_a_plan_keeps_its_limits_where_its_figures_show_no_violation(instance: Instance, plan: Plan, name: str) -> None:
    item = next(item for item in inputs_of(instance) if item.name == name)
    values = [item.value * share // 100 for share in ((100, 90, 50, 20, 10) if item.falling else (100, 150, 300))]
    judged = [keeps_limits(item.changed(value), plan) for value in values]
    assert judged == [not evaluate(item.changed(value), plan).violations for value in values]
    assert judged[0]
    assert not judged[-1]


def test_the_best_of_several_plans_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    item = Input("x", "ns", 100, False, lambda value: value)  # type: ignore[arg-type, return-value]
    asked: list[tuple[int, int]] = []

    def holds(value: int, end: int) -> bool:
        asked.append((value, end))
        return value <= end

    monkeypatch.setattr(sensitivity, "plans_within", lambda *_: iter([100, 700, 300, 650, 90_000, 89_999]))
    monkeypatch.setattr(sensitivity, "plan_holds", holds)
    assert sensitivity._reach(item, 5)(100, True) == 90_000
    assert [value for value, end in asked if end in (300, 650, 89_999)] == [701, 701, 90_001]
    assert sensitivity._reach(item, 5)(100, False) == 100


def test_curves_are_proven_and_monotone(instance: Instance) -> None:
    item = next(item for item in inputs_of(instance) if item.name == "batch_size")
    steps = curve(item, around(item.value, points=3))
    assert [step.value for step in steps] == [32, 128, 512]
    gpus = [step.gpus for step in steps]
    assert all(step.gpus == step.bound for step in steps)
    assert gpus == sorted(gpus)  # type: ignore[type-var]


def test_a_margin_never_saves_a_gpu(instance: Instance) -> None:
    tight = load_instance(CASE, {"limits": {"ttft": "11 s"}})
    assert not enough(tight.model_copy(update={"margin": Fraction(15, 100)}), 5)
    assert enough(instance.model_copy(update={"margin": Fraction(15, 100)}), 5)


def test_command(tmp_path: Path) -> None:
    arguments = [str(CASE), "--only", "batch", "--json", "--points", "1"]
    pytest.importorskip("matplotlib")
    arguments += ["--plot", str(tmp_path / "plot.svg"), "--margin", "15%"]
    answer = json.loads(CliRunner().invoke(command, arguments, standalone_mode=False).output)
    assert [item["name"] for item in answer["inputs"]] == ["batch_size"]
    assert answer["margin"] == {"margin": "3/20", "gpus": 5, "gpus_without": 5}
    assert (tmp_path / "plot.svg").read_text().lstrip().startswith("<?xml")
