"""Certificates of fleets whose requests come by themselves: the bound is proved from tables, the plan was played."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import shardproof
from shardproof.solver.checkers import pools as checker

ASKED: dict[str, Any] = {
    "model": "qwen3-8b",
    "engine": "vllm",
    "workload": {"kind": "requests", "rate": "20/s", "input_tokens": 512, "output_tokens": 64},
    "limits": {"ttft": {"p99": "1 s"}, "tpot": {"p99": "40 ms"}, "max_gpus": 8},
    "max_stage_gpus": 2,
    "devices": [
        {"device": "a100-40-sxm", "price_per_hour": "1.10 USD/h"},
        {"device": "l40s", "available": {"nodes": 1}, "price_per_hour": "0.70 USD/h"},
    ],
    "objective": "price",
}
Document = dict[str, Any]


@pytest.fixture(scope="module")
def certificate() -> Document:
    found = shardproof.solve(ASKED)
    assert isinstance(found, shardproof.SolvedFleet)
    written = found.certificate()
    assert written is not None
    claim = written["claim"]
    assert found.value is not None
    assert found.bound is not None
    assert claim["value"] == round(found.value * 1e6)
    assert 0 < claim["bound"] <= round(found.bound * 1e6)
    return json.loads(json.dumps(written))  # type: ignore[no-any-return]


def refusal(document: Document) -> str:
    """Return why the checker refuses a document."""
    with pytest.raises(checker.CheckError) as refused:
        checker.check(json.dumps(document).encode())
    return str(refused.value)


@pytest.mark.slow  # plays a fleet, proves its bound
def test_the_bound_is_certified_and_the_plan_said_to_be_played(certificate: Document, tmp_path: Path) -> None:
    path = tmp_path / "cert.json"
    path.write_text(json.dumps(certificate), encoding="utf-8")
    run = [sys.executable, "-I", str(Path(checker.__file__)), str(path)]
    said = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert said.startswith("accepted: certified-bound")
    assert "were played (not checked here)" in said
    assert shardproof.verify(path, instance=ASKED).accepted


@pytest.mark.slow  # the same certificate
def test_what_makes_rates_cheaper_than_the_kinds_say_is_refused(certificate: Document) -> None:
    for change in (_faster, _fewer_tokens, _less_due, _no_shape_listed, _lower_kinds, _higher_bound):
        made = copy.deepcopy(certificate)
        change(made)
        assert refusal(made)


@pytest.mark.slow  # the same certificate
def test_a_pool_without_its_rates_is_no_table(certificate: Document) -> None:
    made = copy.deepcopy(certificate)
    for pool in made["pools"]:
        pool["rates"] = None
    assert "no row of the table" in refusal(made)
    made = copy.deepcopy(certificate)
    made["pools"][0]["rates"]["premises"] = []
    assert "no premise" in refusal(made)


@pytest.mark.slow  # the same certificate, compared with its question
def test_tables_that_the_question_does_not_yield_are_refused(certificate: Document) -> None:
    made = copy.deepcopy(certificate)
    for option in made["pools"][0]["rates"]["options"]:
        for table in option["tables"]:
            table["rounds"] = [[i, j, 2 * time] for i, j, time in table["rounds"]]
    assert checker.check(json.dumps(made).encode())
    found = shardproof.verify(made, instance=ASKED)
    assert not found.accepted
    assert "rates: options" in str(found.reason)
    other = ASKED | {"workload": ASKED["workload"] | {"rate": "19/s"}}
    assert not shardproof.verify(certificate, instance=other).accepted


def _rates(made: Document) -> Document:
    """Facts of the pool that the bound rests on: each of them does."""
    found: Document = made["pools"][0]["rates"]
    return found


def _faster(made: Document) -> None:
    for option in _rates(made)["options"]:
        for table in option["tables"]:
            table["rounds"] = [[i, j, time // 3] for i, j, time in table["rounds"]]
            table["chunks"] = [[i, j, time // 3] for i, j, time in table["chunks"]]


def _fewer_tokens(made: Document) -> None:
    for run in _rates(made)["scenarios"][0]["runs"]:
        run["output"] = [1 + (tokens - 1) // 4 for tokens in run["output"]]


def _less_due(made: Document) -> None:
    for shape in _rates(made)["shapes"]:
        shape["directions"] = [[] for _ in shape["directions"]]


def _no_shape_listed(made: Document) -> None:
    _rates(made)["listed_below"] = 1


def _lower_kinds(made: Document) -> None:
    for kind in made["kinds"]:
        kind["loads"] = [[load // 2 for load in loads] for loads in kind["loads"]]


def _higher_bound(made: Document) -> None:
    made["claim"]["bound"] += 400_000
