"""Certificates: solver, checker and brute force agree; documents survive being read and written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from shardproof import solve
from shardproof.instances.errors import InputError
from shardproof.solver.checkers import certificate as checker
from shardproof.solver.commands.verify import command as verify
from shardproof.solver.proof.certificate import (
    certificate_of,
    from_document,
    read_certificate,
    to_document,
    to_json,
    write_certificate,
)
from shardproof.solver.proof.refutation import Empty, Frontier, Reach, Refutation, SplitAxis, SplitMax, Sum, Volume
from shardproof.solver.search.lexicographic import LexicographicSearch
from shardproof.solver.search.settings import Settings
from tests.oracles.agreement import certified, disagreement, program_of
from tests.oracles.places import CASES
from tests.oracles.random_programs import random_program
from tests.oracles.restricted import restrict


@pytest.mark.parametrize("block", range(5))
def test_solver_checker_and_brute_force_agree(block: int) -> None:
    for seed in range(40 * block, 40 * block + 40):
        assert disagreement(program_of(seed)) is None, seed


def test_more_never_costs_a_gpu() -> None:
    """A larger memory limit, and a split on one choice, change the fewest GPUs only as they must."""
    for seed in range(60):
        program = random_program(seed)
        own = certified(program).claims["gpus"]
        tighter = certified(restrict(program, memory=max(cap.limit for cap in program.layouts[0].caps) - 1))
        assert tighter.claims["gpus"].lower >= own.lower, seed


def test_reading_undoes_writing() -> None:
    for seed in range(60):
        document = to_document(certified(random_program(seed, slack=seed % 2 == 0)))
        assert to_document(from_document(json.loads(json.dumps(document)))) == document, seed


def test_every_kind_of_node_is_written() -> None:
    program = random_program(3)
    tree = SplitAxis(
        0,
        (
            SplitMax("ttft", 7, Empty(), SplitMax("ttft", 9, Volume("memory"), Sum("ttft"))),
            Frontier(((("ttft", 2), ("tpot", 1)),), (((0, 0),), ((1, 4), (2, 9)), ())),
            Reach((0, 2, 0, 3)),
        ),
    )
    from shardproof.solver.proof.certificate_json import write_tree

    assert write_tree(tree) == [
        ["axis", 0],
        ["max", "ttft", 7],
        ["leaf", [], []],
        ["max", "ttft", 9],
        ["leaf", [[["volume", "memory", 1]]], []],
        ["leaf", [[["sum", "ttft", 1]]], []],
        ["leaf", [[["sum", "ttft", 2], ["sum", "tpot", 1]]], [[[0, 0]], [[1, 4], [2, 9]]]],
        ["leaf", [], [[[0]], [[2]], [], [[3]]]],
    ]
    assert program.layouts


def test_a_bound_without_refutation_is_only_claimed() -> None:
    program = next(p for p in map(random_program, range(99)) if certified(p).claims["gpus"].upper == 4)
    claimed = certificate_of(
        program,
        instance="x",
        chain=LexicographicSearch(program, Settings()).run().chain,
        bounds={"gpus": 4},
        refutations={},
        claimed_by="claimed by CP-SAT 9.15",
    )
    assert checker.check(to_json(claimed).encode()).startswith("solver-claimed: gpus 4..4 (claimed by CP-SAT 9.15)")
    wrong = Refutation(4, tuple(Empty() for _ in program.layouts))
    forged = certificate_of(
        program, instance="x", chain=None, bounds={"gpus": wrong.gpus + 1}, refutations={"gpus": wrong}
    )
    with pytest.raises(checker.CheckError):
        checker.check(to_json(forged).encode())


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "cert.json"
    write_certificate(certified(random_program(5)), path)
    assert to_document(read_certificate(path)) == json.loads(path.read_text())
    path.write_text("{")
    with pytest.raises(InputError, match="not a certificate"):
        read_certificate(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_certificate(tmp_path / "none.json")


def test_verify_command(tmp_path: Path) -> None:
    path = tmp_path / "cert.json"
    write_certificate(certified(random_program(5)), path)
    done = CliRunner().invoke(verify, [str(path), "--json"], standalone_mode=False)
    assert done.return_value == 0
    answer = json.loads(done.output)
    assert answer["accepted"] is True
    assert answer["reason"] is None
    assert answer["claim"].startswith("certified-")
    path.write_text("[]")
    done = CliRunner().invoke(verify, [str(path), "--json"], standalone_mode=False)
    assert done.return_value == 4
    assert json.loads(done.output)["accepted"] is False
    done = CliRunner().invoke(verify, [str(path)], standalone_mode=False)
    assert done.output.startswith("refused: malformed")


def small_instance(tmp_path: Path, **limits: str) -> Path:
    """An instance file of a small dense model on two kinds of limits."""
    lines = "\n".join(f"  {name}: {value}" for name, value in ({"ttft": "30 s", "max_gpus": "16"} | limits).items())
    case = CASES / "qwen3-235b-a22b.yaml"
    text = case.read_text(encoding="utf-8")
    start, end = text.index("limits:"), text.index("runtime_reserve")
    path = tmp_path / "instance.yaml"
    path.write_text(f"{text[:start]}limits:\n{lines}\n{text[end:]}", encoding="utf-8")
    return path


@pytest.mark.parametrize("limits", [{}, {"ttft": "2 s", "max_gpus": "8"}])
def test_verify_against_the_instance(tmp_path: Path, limits: dict[str, str]) -> None:
    from shardproof.instances.resolve import load_instance
    from shardproof.solver.proof.certificate import certificate_of_evidence
    from shardproof.solver.solve import solve

    instance, path = small_instance(tmp_path, **limits), tmp_path / "cert.json"
    result = solve(load_instance(instance))
    assert result.evidence is not None
    write_certificate(certificate_of_evidence(result.evidence, load_instance(instance)), path)
    done = CliRunner().invoke(verify, [str(path), "--instance", str(instance)], standalone_mode=False)
    assert (done.return_value, done.output[:19]) == (0, "accepted: certified"), done.output
    document = json.loads(path.read_text())
    document["program"]["rows"][0]["limit"] += 1
    path.write_text(json.dumps(document))
    done = CliRunner().invoke(verify, [str(path), "--instance", str(instance)], standalone_mode=False)
    assert done.return_value == 4
    assert "limit" in done.output or "refused" in done.output
    document["instance"] = "another"
    path.write_text(json.dumps(document))
    done = CliRunner().invoke(verify, [str(path), "--instance", str(instance)], standalone_mode=False)
    assert done.return_value == 4


def test_an_engine_that_is_given_no_memory_is_refuted_with_proof() -> None:
    """Its own needs exceed its share: the limit of the row is below nothing, which a certificate cannot write so."""
    asked = {
        "model": "qwen3-8b",
        "device": "l4",
        "engine": {"name": "vllm", "gpu_memory_utilization": "1e-9"},
        "workload": {"kind": "burst", "batch_size": 1, "input_tokens": 64, "output_tokens": 8},
        "limits": {"ttft": "30 s", "max_gpus": 4},
    }
    assert solve(asked).proof == "certified-optimal"
