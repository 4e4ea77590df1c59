"""Explanations: their numbers are the refutation's, and conflicts are minimal."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

import pytest
from click.testing import CliRunner

import shardproof
from shardproof.formulations.deployment.build import Deployment
from shardproof.instances.clock import now
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import load_instance, resolve_tree
from shardproof.solver.analysis.conflicts import TAKES_LONGER, conflicting, has_plan, least_relaxation, limits_of
from shardproof.solver.analysis.explain import why_not_fewer
from shardproof.solver.api.explained import explanation_of
from shardproof.solver.commands.explain import command
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Interrupted, Query
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve
from tests.oracles.places import CASES

CASE = CASES / "qwen3-235b-a22b.yaml"


def instance(**limits: Any) -> Instance:
    """The main case with other limits."""
    return load_instance(CASE, {"limits": limits})


def test_memory_sentence_has_the_numbers_of_the_proof() -> None:
    deployment = Deployment(instance())
    refutation = Prover(deployment.program, floor=True).decide(Query(4)).refutation
    assert refutation is not None
    first, *_ = why_not_fewer(deployment, refutation)
    assert first.startswith("1 replica: 4 GPUs hold 256.0 GB; the layers' weights, 233.8 GB, the KV cache of ")
    assert "128 x 4,096 tokens, 50.5 GB" in first
    assert first.endswith("need 286.6 GB")


def test_a_limit_of_running_requests_is_said_and_relaxed() -> None:
    engine = {"name": "vllm", "max_num_seqs": 2}
    asked = load_instance(CASE, {"limits": {"max_gpus": 8}, "engine": engine})
    deployment = Deployment(asked)
    refutation = Prover(deployment.program, floor=True).decide(Query(8)).refutation
    assert refutation is not None
    first, *_ = why_not_fewer(deployment, refutation)
    assert "128 requests have to run at once, and 8 GPUs, each an attention replica, run 16 (max_num_seqs 2)" in first
    assert "max_num_seqs" in {limit.name for limit in conflicting(asked)}


@pytest.mark.parametrize(("gpus", "ttft"), [(5, "1 s"), (5, "10.3 s"), (6, "7 s")])
def test_every_kind_of_refutation_has_a_sentence(gpus: int, ttft: str) -> None:
    deployment = Deployment(instance(ttft=ttft))
    refutation = Prover(deployment.program, floor=True).decide(Query(gpus)).refutation
    assert refutation is not None
    sentences = why_not_fewer(deployment, refutation)
    assert sentences
    assert all(not sentence.endswith((" ", ".")) for sentence in sentences)


def test_conflicts_are_minimal_and_relaxations_exact() -> None:
    question = instance(ttft="9 s", max_gpus=5)
    assert not has_plan(question)
    found = conflicting(question)
    assert {limit.name for limit in found} == {"GPUs", "TTFT"}
    for limit in found:
        assert has_plan(limit.raised(limit.most))
    gpus = next(limit for limit in limits_of(question) if limit.name == "GPUs")
    needed = least_relaxation(gpus)
    assert needed is not None
    assert has_plan(gpus.raised(needed))
    assert not has_plan(gpus.raised(needed - 1))


@pytest.mark.parametrize("kind", ["burst", "closed-loop"])
@pytest.mark.parametrize("margin", [Fraction(0), Fraction(7, 100)])
def test_a_ttft_limit_ends_where_the_fastest_plan_does(kind: str, margin: Fraction) -> None:
    requests = {"batch_size": 24} if kind == "burst" else {"concurrency": 24}
    workload = {"kind": kind, **requests, "input_tokens": 1000, "output_tokens": 200}
    tree = {"model": "llama-3.1-8b", "device": "h100-sxm", "engine": "vllm", "workload": workload}
    limits = {"ttft": "1 ms", "max_gpus": 4}
    question = resolve_tree({**tree, "limits": limits}, where="asked").model_copy(update={"margin": margin})
    ttft = next(limit for limit in limits_of(question) if limit.name == "TTFT")
    needed = least_relaxation(ttft)
    assert needed is not None
    assert needed > ttft.value
    assert has_plan(ttft.raised(needed))
    assert not has_plan(ttft.raised(needed - 1))


def test_command() -> None:
    done = CliRunner().invoke(command, [str(CASE), "--json"], standalone_mode=False)
    answer = json.loads(done.output)
    assert (answer["status"], answer["gpus"], answer["bound"]) == ("optimal", 5, 5)
    assert answer["reasons"]
    done = CliRunner().invoke(command, [str(CASE), "--memory", "60 GB", "--max-gpus", "4"], standalone_mode=False)
    assert "no plan exists with up to 4 GPUs" in done.output
    assert "memory per device (60.0 GB): a plan exists from" in done.output
    assert "GPUs (4 GPUs): a plan exists from 5 GPUs (1 more)" in done.output


def test_what_there_is_no_time_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    question = instance(ttft="1 ms", max_gpus=8)
    result = solve(question, settings=Settings(explain=False, certify=False))
    late = explanation_of(question, result, now() - 1)
    assert late.conflicts == ()
    assert late.reasons[-1] == f"which limits cannot hold together {TAKES_LONGER}"
    assert "other formats: finding out takes longer; see `shardproof solve --top`" in late.alternatives

    def never(*_: object) -> None:
        raise Interrupted

    monkeypatch.setattr("shardproof.solver.analysis.conflicts.least_relaxation", never)
    (conflict,) = explanation_of(question, result).conflicts
    assert (conflict.name, conflict.needed) == ("TTFT", None)
    assert conflict.words.endswith(TAKES_LONGER)


def test_a_time_limit_ends_an_explanation() -> None:
    explained = shardproof.explain(CASE, ttft="2 s", time_limit="0 s")
    assert explained.exit_code == 3
    full = shardproof.explain(CASE, ttft="1 ms", max_gpus=8, time_limit="10 min")
    assert [conflict.name for conflict in full.conflicts] == ["TTFT"]


def test_a_limit_that_no_number_of_gpus_helps_falls_at_sight() -> None:
    program = Deployment(instance(ttft="1 ms")).program
    prover = Prover(program, floor=True)
    seen = prover.refuted_at_sight(Query(8))
    assert seen is not None
    assert seen == prover.decide(Query(8)).refutation
    assert Prover(Deployment(instance()).program, floor=True).refuted_at_sight(Query(8)) is None


def test_a_limit_beside_which_others_leave_no_plan_either_is_not_called_the_only_one() -> None:
    question: Any = {
        "model": "llama-3.1-8b",
        "device": "l4",
        "engine": "vllm",
        "isl": 2048,
        "osl": 64,
        "batch_size": 32,
    }
    said = str(shardproof.explain(**question, ttft="300 ms", tpot="2 ms", max_gpus=2))
    assert "no value helps while the other limits stay" in said
    assert "drop any one" not in said
    assert not re.search(r"\b\d{7,}\b", said)
