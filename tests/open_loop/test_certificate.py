"""The bound of an open question as a certificate: accepted by the checker alone, and no number of it may be changed."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shardproof
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.checkers import open_loop as checker
from shardproof.solver.open_loop.certificate import Proof, different

QUESTION: dict[str, Any] = {
    "model": "llama-3.2-1b-instruct",
    "device": "l4",
    "engine": "vllm",
    "workload": {"kind": "requests", "rate": "20/s", "input_tokens": 1500, "output_tokens": 60},
    "limits": {"ttft": {"p99": "1 s"}, "tpot": {"p99": "30 ms"}, "max_gpus": 8},
}
HINTS = ("directions", "prompts", "windows")


@pytest.fixture(scope="module")
def solved() -> Any:
    return shardproof.solve(QUESTION)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Answer a trace of two crowds far apart: the rate asks for one GPU, its windows for more."""
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    moments = [start + place / 400 for start in (0, 60) for place in range(20)]
    rows = "".join(f"{moment},{2000 + 50 * (place % 3)},{4 + place % 2}\n" for place, moment in enumerate(moments))
    path.write_text("time_s,input_tokens,output_tokens\n" + rows)
    limits = {"ttft": {"p90": "500 ms"}, "tpot": {"p90": "50 ms"}, "max_gpus": 8}
    return shardproof.solve(QUESTION | {"workload": {"trace": str(path)}, "limits": limits})


def test_the_checker_proves_what_the_search_said(solved: Any) -> None:
    document = solved.certificate()
    assert document["claim"] == {"lower": solved.bound, "upper": solved.gpus}
    assert solved.bound > 1
    verified = shardproof.verify(document, solved.instance)
    assert verified.accepted
    assert "at least" in verified.claim
    assert document["premises"] == [line for line in solved.result.assumptions if line in document["premises"]]


def test_the_checker_stands_alone(solved: Any, tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(solved.certificate()))
    command = [sys.executable, "-I", checker.__file__, str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.startswith("accepted: certified-bound")
    path.write_text(json.dumps(solved.certificate() | {"claim": {"lower": solved.gpus, "upper": solved.gpus}}))
    refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (refused.returncode == 4) is (solved.bound != solved.gpus)


def test_checker_and_search_agree_on_every_shape(solved: Any) -> None:
    proof = Proof(solved.instance, 5)
    document = json.loads(json.dumps(proof.document()))
    (scenario,) = (checker.Scenario(one) for one in document["scenarios"])
    options = [checker.Option(one, one["tables"][0], scenario) for one in document["options"]]
    for bound, one in zip(proof.shapes, document["shapes"], strict=True):
        shape = checker.Shape(scenario, options[one["option"]], one, one["directions"][0])
        assert shape.refused() is bound.refused(proof.scenarios[0])
        needed = bound.needed(proof.scenarios[0], 10)
        assert float(1 / shape.takes()) == pytest.approx(needed, rel=1e-5)
        assert 1 / shape.takes() <= needed * (1 + 1e-6)


def test_windows_prove_what_the_rate_does_not(crowded: Any) -> None:
    document = crowded.certificate()
    assert document["windows"]
    assert checker.proved(document) == document["claim"]["lower"] == crowded.bound > 1
    assert checker.proved(document | {"windows": []}) < crowded.bound
    overlapping = copy.deepcopy(document)
    run = overlapping["windows"][0]["runs"][0]
    run.append(run[-1])
    with pytest.raises(checker.CheckError, match="overlap"):
        checker.judge(overlapping)


def test_without_hints_less_is_proved_and_nothing_false(solved: Any) -> None:
    document = solved.certificate()
    bare = copy.deepcopy(document)
    for shape in bare["shapes"]:
        shape["directions"] = [[] for _ in shape["directions"]]
    assert checker.proved(bare) <= solved.bound
    wild = copy.deepcopy(document)
    for shape in wild["shapes"]:
        shape["directions"] = [
            [[5 * beta, 2 * gamma, 9 * delta] for beta, gamma, delta in one] for one in shape["directions"]
        ]
    assert checker.proved(wild) <= solved.bound


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every number."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(item, (*path, key))
    elif isinstance(value, int):
        yield path


def changed(document: Any, path: tuple[Any, ...], by: int) -> Any:
    other = copy.deepcopy(document)
    place = other
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = max(0, place[path[-1]] + by)
    return other


@pytest.mark.slow  # a certificate is checked for every number of it
def test_no_number_can_be_changed(crowded: Any) -> None:
    document = json.loads(json.dumps(crowded.certificate()))
    paths, proved = list(numbers(document)), checker.judge(document)
    assert len(paths) > 200
    for place, path in enumerate(paths):
        forged = changed(document, path, (1, -1)[place % 2])
        if forged == document:
            continue
        try:
            claim = checker.judge(forged)
        except (checker.CheckError, ArithmeticError, LookupError, TypeError, ValueError):
            continue
        another_point = ("rounds" in path or "chunks" in path) and path[-1] < 2
        if any(key in HINTS for key in path) or (another_point and different(forged, crowded.instance) is None):
            assert claim == proved, path  # another hint, or another true point, that proves the same
        else:
            assert path[0] == "claim" or different(forged, crowded.instance) is not None, path


def test_another_question_is_refused(solved: Any) -> None:
    other = resolve_tree(QUESTION | {"workload": QUESTION["workload"] | {"rate": "21/s"}}, where="case")
    assert not shardproof.verify(solved.certificate(), other)
    assert not shardproof.verify(b'{"format": "shardproof open-loop certificate 1"}')
