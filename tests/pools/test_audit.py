"""Audits of fleets: every figure of a file is held against the question, and what the fleet breaks is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import shardproof
from shardproof.solver.audit.fleet import positions
from tests.oracles.places import ROOT

MELANGE = ROOT / "instances" / "cases" / "pools" / "melange-default.yaml"
SERVED: dict[str, Any] = {
    "model": "qwen3-8b",
    "engine": "vllm",
    "workload": {"kind": "closed-loop", "concurrency": 40, "input_tokens": 512, "output_tokens": 64},
    "limits": {"ttft": "2 s", "tpot": "40 ms", "max_gpus": 8},
    "devices": [{"device": "l40s", "price_per_hour": "0.90 USD/h"}, {"device": "a100-40-sxm"}],
    "spare": "replica",
}
Tree = dict[str, Any]


@pytest.fixture(scope="module")
def measured() -> Tree:
    return shardproof.solve(MELANGE).to_dict()


@pytest.fixture(scope="module")
def served() -> Tree:
    return shardproof.solve(SERVED).to_dict()


def audited(tree: object, instance: Any, **settings: Any) -> shardproof.AuditedFleet:
    found = shardproof.audit(tree, instance, **({"completion": False} | settings))  # type: ignore[arg-type]
    assert isinstance(found, shardproof.AuditedFleet)
    return found


def changed(tree: Tree, change: Callable[[Tree], object]) -> Tree:
    made: Tree = json.loads(json.dumps(tree))
    change(made)
    return made


@pytest.mark.parametrize("name", ["measured", "served"])
def test_nothing_is_wrong_with_what_solve_prints(name: str, request: pytest.FixtureRequest) -> None:
    tree, instance = request.getfixturevalue(name), MELANGE if name == "measured" else SERVED
    found = audited(tree, instance)
    assert (found.exit_code, found.wrong, found.violations) == (0, (), ())
    verdicts = {claim.statement.field: claim.verdict for claim in found.claims}
    assert verdicts["value"] == verdicts["metrics.gpus"] == verdicts["plan.instance_fingerprint"] == "confirmed"
    assert verdicts["bound"] == "not-checkable"  # nothing was searched
    assert found.verdict.startswith("NOTHING WRONG")
    assert audited(tree, instance, completion=True).to_dict()["completion"]["value"] == tree["value"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("gpus", 3), ("price_per_hour", 4.2), ("watts", 600.0), ("shapes", 1)],
)
def test_a_figure_that_is_not_so_is_contradicted(measured: Tree, field: str, value: float) -> None:
    found = audited(changed(measured, lambda tree: tree["metrics"].update({field: value})), MELANGE)
    (wrong,) = found.wrong
    assert (wrong.statement.field, wrong.verdict, found.exit_code) == (f"metrics.{field}", "contradicted", 4)
    assert wrong.to_json()["recomputed"] == measured["metrics"][field]


def test_what_a_fleet_breaks_is_said_with_its_limit(measured: Tree) -> None:
    def overloaded(tree: Tree) -> None:
        tree["plan"]["groups"][1]["takes"][0]["rate_per_s"] = 60.0

    def elsewhere(tree: Tree) -> None:
        tree["plan"]["nodes"] = tree["plan"]["nodes"][:1]

    def less(tree: Tree) -> None:
        tree["plan"]["groups"][0]["takes"][0]["rate_per_s"] = 1.0

    for change, group in ((overloaded, "capacity"), (elsewhere, "seats"), (less, "demand")):
        found = audited(changed(measured, change), MELANGE)
        assert [one["group"] for one in found.to_dict()["violations"]] == [group]
        assert found.exit_code == 4


def test_a_share_that_the_rest_does_not_carry_is_contradicted(served: Tree) -> None:
    case = served["plan"]["spared"][0]
    name = next(iter(case["carried"]))

    def more(tree: Tree) -> None:
        tree["plan"]["spared"][0]["carried"][name] = 9.0

    (wrong,) = audited(changed(served, more), SERVED).wrong
    assert wrong.statement.field == f"plan.spared.0.carried.{name}"


def test_optimal_is_contradicted_by_a_better_fleet(measured: Tree) -> None:
    asked = json.loads(json.dumps(shardproof.solve(MELANGE).to_dict()))
    asked["bound"] = 5.0
    found = audited(asked, MELANGE, completion=True)
    assert [claim.statement.field for claim in found.wrong] == ["bound"]
    assert "a better fleet was found" in found.wrong[0].formula


def test_lines_of_a_file_are_said(measured: Tree, tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(changed(measured, lambda tree: tree.update(gpus=7)), indent=2), encoding="utf-8")
    found = audited(str(path), MELANGE)
    (wrong,) = found.wrong
    assert (wrong.statement.line, wrong.statement.text) == (10, '"gpus": 7,')
    assert "line 10: gpus 7 GPUs, is 2 GPUs" in " ".join(found.text().split())
    assert positions("a:\n  - b: 1\n")["a", 0, "b"] == (2, "- b: 1")


def test_a_fleet_without_its_question_is_refused(measured: Tree) -> None:
    for instance in (None, ROOT / "instances" / "cases" / "qwen3-235b-a22b.yaml"):
        with pytest.raises(shardproof.InputError, match="name its question about devices with --instance"):
            shardproof.audit(measured, instance)
    answer = shardproof.solve(MELANGE)
    assert isinstance(answer, shardproof.SolvedFleet)
    assert audited(answer, None).exit_code == 0
    assert audited(answer.plan, MELANGE).exit_code == 0
