"""The checker: what it accepts is true, what it refuses is refused clearly, and it stands alone."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import forge
from shardproof.solver.checkers import certificate as checker
from tests.oracles.certificates import document, stored

SOURCE = Path(checker.__file__)
STANDARD = set(sys.stdlib_module_names)


def judged(value: Any) -> str:
    """What the checker says of a document."""
    return checker.check(json.dumps(value).encode())


def refusal(value: Any) -> str:
    """Why the checker refuses a document."""
    with pytest.raises(checker.CheckError) as caught:
        judged(value)
    return str(caught.value)


def with_tree(*nodes: list[Any], lower: int = 2) -> dict[str, Any]:
    """The document with another tree under its GPU claim."""
    value = document()
    value["claims"]["gpus"] |= {"refused": [{"gpus": lower - 1, "share": 0, "trees": [list(nodes)]}], "lower": lower}
    return value


def test_stands_alone() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 250
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert {name.split(".")[0] for name in imported} <= STANDARD | {"__future__"}


def test_runs_as_a_script(tmp_path: Path) -> None:
    path = tmp_path / "cert.json"
    path.write_text(json.dumps(document()), encoding="utf-8")
    command = [sys.executable, "-I", "-S", str(SOURCE), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert done.stdout.startswith("accepted: certified-optimal: gpus 2..2 (certified)")
    path.write_text(json.dumps(with_tree(["leaf", [], []])), encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "")
    assert done.stdout.startswith("refused: ")


def test_wording() -> None:
    assert judged(document()) == (
        "certified-optimal: gpus 2..2 (certified); any fleet, in exact integer arithmetic, "
        f"verified by checker {checker.VERSION}, for the cost tables in the file, compared with no instance"
    )


@pytest.mark.parametrize(
    "tree",
    [
        [["leaf", [[["volume", "memory", 1]]], []]],
        [["leaf", [], [[[0]], [[2]]]]],
        [["axis", 0], ["leaf", [[["sum", "ttft", 1]]], []]],
        [["axis", 0], ["leaf", [[["volume", "ttft", 1]]], []]],
        [
            ["axis", 0],
            ["max", "ttft", 9],
            ["leaf", [[["volume", "ttft", 1]]], []],
            ["leaf", [[["sum", "ttft", 1]]], []],
        ],
        [["axis", 0], ["leaf", [[["sum", "ttft", 2]], [["sum", "ttft", 1]]], [[[0, 0, 0]]]]],
    ],
)
def test_accepts_each_leaf(tree: list[Any]) -> None:
    assert judged(with_tree(*tree)).startswith("certified-optimal")


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ([], "missing case"),
        ([["axis", 0]], "missing case"),
        ([["axis", 0], ["leaf", [], []]], "may reach the last layer|dominated by none"),
        ([["leaf", [], [[[0]], [[3]]]]], "malformed: a label"),
        ([["leaf", [], [[[0]], [[1]]]]], "dominated by none"),
        ([["leaf", [], [[[0]], [[2, 0]]]]], "malformed: a label"),
        ([["leaf", [[["volume", "memory", 1]]], []], ["leaf", [], []]], "nodes to spare"),
        ([["leaf", [[["sum", "memory", 1]]], []]], "no limit to use"),
        ([["leaf", [[["sum", "ttft", 1]]], []]], "malformed"),
        ([["axis", 1]], "malformed"),
        ([["max", "ttft", 3]], "malformed"),
        ([["axis", 0], ["max", "ttft", 3], ["leaf", [[["sum", "ttft", 1]]], []]], "missing case"),
    ],
)
def test_refuses_what_proves_nothing(tree: list[Any], reason: str) -> None:
    import re

    assert re.search(reason, refusal(with_tree(*tree)))


@pytest.mark.parametrize(("limit", "holds"), [(8, True), (9, False)])
def test_volume_is_exact(limit: int, *, holds: bool) -> None:
    value = document()
    value["program"]["rows"][0]["limit"] = limit
    assert (judged(value) != "") if holds else "last layer" in refusal(value)


@pytest.mark.parametrize(("limit", "holds"), [(12, True), (13, False)])
def test_sum_is_exact(limit: int, *, holds: bool) -> None:
    value = with_tree(["axis", 0], ["leaf", [[["sum", "ttft", 1]]], []])
    value["program"]["rows"][0]["limit"] = 9
    value["program"]["rows"][1]["limit"] = limit
    assert (judged(value) != "") if holds else "last layer" in refusal(value)


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([[0, 3, 0]], "breaks memory"),
        ([[0, 1, 0], [1, 3, 0]], "breaks ttft"),
        ([[0, 2, 1]], "every layer once"),
        ([[0, 2, 0], [2, 2, 0], [2, 3, 0]], "every layer once"),
        ([[0, 2, 1], [1, 3, 1]], "every layer once"),
        ([[1, 3, 1]], "every layer once"),
        ([], "every layer once"),
        ([[0, 1, 1], [1, 2, 1], [2, 3, 1]], "as wide as allowed"),
        ([[0, 3, 2]], "malformed"),
    ],
)
def test_plan_must_hold(stages: list[list[int]], reason: str) -> None:
    value = document()
    value["plan"][0]["stages"] = stages
    assert reason in refusal(value)


@pytest.mark.parametrize(
    ("by", "claim"),
    [
        ("claimed by CP-SAT 9.15", "solver-claimed: gpus 2..2 (claimed by CP-SAT 9.15)"),
        ("agreed by HiGHS", "solver-claimed"),
    ],
)
def test_levels_not_certified_are_named(by: str, claim: str) -> None:
    value = with_tree()
    value["claims"]["gpus"]["by"] = by
    assert judged(value).startswith(claim)


def test_status_of_each_claim() -> None:
    gap = document()
    gap["plan"][0]["stages"] = [[0, 2, 1], [2, 3, 0]]
    gap["claims"]["gpus"]["upper"] = 3
    gap["program"]["rows"][1]["limit"] = 13
    assert judged(gap).startswith("certified-gap: gpus 2..3 (certified)")
    bound = document() | {"plan": None}
    bound["claims"]["gpus"]["upper"] = None
    assert judged(bound).startswith("certified-bound: gpus 2..none (certified)")
    bound["program"]["max_gpus"] = 1
    assert judged(bound).startswith("certified-infeasible: gpus 2..none (certified)")
    bound["program"]["max_gpus"] = 0
    assert "missing case: replicas of 1 GPUs" in refusal(bound)
    bound["claims"]["gpus"] |= {"by": "claimed by X", "refused": []}
    assert "more than the file holds" in refusal(bound)


def test_missing_cases_are_refused() -> None:
    choices = document()
    choices["program"]["shares"][0]["layouts"][0]["axes"][0]["size"] = 2
    assert "missing case: a choice of requests" in refusal(choices)
    choices["program"]["shares"][0]["layouts"][0]["axes"][0]["rule"] = "listed"
    assert judged(choices)
    load = document()
    load["program"]["demand"] = [2]
    assert "carries [1] of [2] requests" in refusal(load)
    load["plan"][0]["replicas"] = 2
    load["claims"]["gpus"] |= {"upper": 4, "lower": 3}
    assert "some fleet of 2 GPUs is not refuted" in refusal(load)
    load["claims"]["gpus"]["lower"] = 2
    assert judged(load).startswith("certified-gap")
    span = document()
    span["program"]["shares"][0]["layouts"][0]["max_gpus"] = 0
    span["plan"] = None
    span["claims"]["gpus"]["upper"] = None
    assert "missing case: replicas of 1 GPUs" in refusal(span)


def fleet() -> dict[str, Any]:
    """Three requests on 4 GPUs: two of 2 GPUs carry 1 each at most, whereas 4 GPUs would carry 2; 6 GPUs are needed."""
    value = document()
    value["program"] |= {"demand": [3], "max_gpus": 9}
    value["plan"][0]["replicas"] = 3
    leaf = ["leaf", [[["volume", "memory", 1]]], []]
    value["claims"]["gpus"] = {"lower": 3, "upper": 6, "by": "certified", "refused": []}
    value["claims"]["gpus"]["refused"] = [{"gpus": 1, "share": 0, "trees": [[leaf]]}]
    return value


def test_fleets_that_no_wall_refuses_are_not_refuted() -> None:
    value = fleet()
    assert "some fleet of 2 GPUs is not refuted" in refusal(value)
    value["program"]["replicas"] = "alike"
    assert "some fleet of 2 GPUs is not refuted" in refusal(value)
    value["claims"]["gpus"]["lower"] = 2
    assert judged(value).startswith("certified-gap: gpus 2..6 (certified); replicas all alike")
    value["program"]["replicas"] = "any"
    assert "malformed" in refusal(value)


def test_shapes_of_a_plan_are_counted() -> None:
    value = fleet()
    value["claims"]["gpus"]["lower"] = 2
    value["plan"] = [value["plan"][0] | {"replicas": 1}, value["plan"][0] | {"replicas": 2}]
    value["claims"]["shapes"] = {"lower": 1, "upper": 2, "by": "certified", "refused": []}
    assert "shapes 1..2 (certified)" in judged(value)
    value["claims"]["shapes"]["lower"] = 2
    assert "some fleet of 6 GPUs is not refuted" in refusal(value)
    value["program"]["replicas"] = "alike"
    assert "2 shapes" in refusal(value)


def malformed() -> list[tuple[str, bytes]]:
    """Texts that are no certificate."""
    good = json.dumps(document())
    return [
        ("empty", b""),
        ("no JSON", b"{"),
        ("no text", b"\xff\xfe\x00"),
        ("another document", b"[]"),
        ("a number", b"7"),
        ("deep arrays", b"[" * 200_000),
        ("deep objects", b'{"a":' * 200_000),
        ("deep node", good.replace('"trees": [', '"trees": [' + "[" * 900 + "]" * 900 + ",", 1).encode()),
        ("huge number", good.replace('"max_gpus": 4', '"max_gpus": ' + "9" * 5000).encode()),
        ("fraction", good.replace('"max_gpus": 4', '"max_gpus": 4.0').encode()),
        ("exponent", good.replace('"max_gpus": 4', '"max_gpus": 1e3').encode()),
        ("negative", good.replace('"max_gpus": 4', '"max_gpus": -4').encode()),
        ("not a number", good.replace('"max_gpus": 4', '"max_gpus": NaN').encode()),
        ("boolean", good.replace('"max_gpus": 4', '"max_gpus": true').encode()),
        ("key twice", good.replace('"max_gpus": 4', '"max_gpus": 4, "max_gpus": 4').encode()),
        ("unknown key", good.replace('"max_gpus": 4', '"max_gpus": 4, "more": 4').encode()),
        ("many layers", good.replace("[[0, 3]]", "[[0, 99999999999999999999]]").encode()),
        ("another format", good.replace(checker.FORMAT, "shardproof certificate 1").encode()),
        ("line break in a name", good.replace("by-hand", "by\\nhand").encode()),
        ("too large", b" " * (checker.MAX_BYTES + 1)),
    ]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in malformed()])
def test_malformed_files_end_in_a_clear_error(text: bytes) -> None:
    with pytest.raises(checker.CheckError) as caught:
        checker.check(text)
    message = str(caught.value)
    assert len(message) < 400
    assert "\n" not in message


def test_limits_of_size() -> None:
    assert (checker.MAX_BYTES, checker.LARGEST, checker.MAX_LAYERS) == (64 * 2**20, 10**40, 4096)
    value = document()
    value["program"]["kinds"] = [[0, 4096]]
    assert "every layer once" in refusal(value)
    value["program"]["kinds"] = [[0, 4097]]
    assert "number of layers" in refusal(value)
    value = document()
    value["program"]["rows"][1]["limit"] = 10**39
    assert judged(value)
    value["program"]["rows"][1]["limit"] = 10**40
    assert "malformed" in refusal(value)


def test_limit_of_bytes_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(document())
    monkeypatch.setattr(checker, "MAX_BYTES", len(text))
    assert judged(document())
    monkeypatch.setattr(checker, "MAX_BYTES", len(text) - 1)
    assert "more than" in refusal(document())


@pytest.mark.slow  # one hundred and fifty certificates are changed and checked
def test_no_forgery_with_a_false_claim_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert forge.main(["--count", "150", "--bases", "50"]) == 0, capsys.readouterr().out


def test_stored_verdicts_hold() -> None:
    for text, verdict in stored():
        assert forge.verdict(text) == verdict
