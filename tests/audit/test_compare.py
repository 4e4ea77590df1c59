"""Plans beside the proven optimum, and the document that is written for the optimum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from shardproof.instances.instance import Instance
from shardproof.instances.resolve import load_instance
from shardproof.solver.audit.audit import Audit, audit_document
from shardproof.solver.audit.compare import Comparison, compare
from shardproof.solver.audit.completion import complete
from shardproof.solver.commands.compare import command
from shardproof.solver.documents.reader import parse_document, read_document
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve
from shardproof.solver.writers.deployment_document import write_document
from tests.oracles.places import ROOT

CASES = ROOT / "instances" / "cases"
PLAN = ROOT / "instances" / "plans" / "qwen3-235b-handwritten.md"


@pytest.fixture(scope="module")
def instance() -> Instance:
    return load_instance(CASES / "qwen3-235b-a22b.yaml")


@pytest.fixture(scope="module")
def result(instance: Instance) -> Result:
    return solve(instance, settings=Settings())


@pytest.fixture(scope="module")
def comparison(instance: Instance, result: Result, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    own = tmp_path_factory.mktemp("plans") / "optimum.json"
    own.write_text(json.dumps(result.to_json()))
    return compare((PLAN, PLAN.with_suffix(".yaml"), own), instance, result)


def test_columns(comparison: Comparison) -> None:
    assert comparison.optimum is not None
    written, structured, own = comparison.plans
    assert (written.gpus, written.gpus_used, comparison.optimum.gpus) == (35, 4, 5)
    assert structured.gpus == 35
    assert own.gpus == 5
    assert own.violations == ()
    assert "cover[layers]" in written.violations
    assert "memory[main][stage=0]" in written.violations
    assert comparison.optimum.ttft_s == pytest.approx(10.4, abs=0.1)
    assert own.ttft_s == comparison.optimum.ttft_s
    parts = comparison.optimum.memory_parts
    assert sum(parts.values()) == comparison.optimum.peak_memory_bytes
    assert 0 < (comparison.optimum.bubble or 0) < 0.1
    assert 0.9 < (comparison.optimum.balance or 0) <= 1


def test_what_is_saved(comparison: Comparison) -> None:
    name, sentences = comparison.savings[0]
    assert name == PLAN.name
    assert sentences[0] == "5 instead of 35 GPUs; 7x fewer; TTFT 10.4 s"
    assert any("31 of its 35 GPUs do no work" in sentence for sentence in sentences)
    assert "decision: stages 4 -> 5" in sentences


def doubted(audit: Audit) -> list[tuple[str, str]]:
    """Claims that are neither confirmed nor what the document alone gives."""
    return [
        (claim.statement.text, claim.formula)
        for claim in audit.claims
        if claim.verdict != "confirmed" and not claim.formula.startswith("taken as")
    ]


@pytest.mark.parametrize("with_instance", [True, False])
def test_document_is_confirmed_claim_by_claim(instance: Instance, result: Result, *, with_instance: bool) -> None:
    text = write_document(instance, result)
    audit = audit_document(parse_document(text, name="written.md", suffix=".md"), instance if with_instance else None)
    assert doubted(audit) == []
    assert audit.violations == ()
    assert len(audit.claims) > 40


@pytest.mark.parametrize("overrides", [
    {"model": "llama-3.1-70b", "device": "h100-sxm"},
    {"model": "qwen3-30b-a3b", "device": "l40s"},
    {"model": "deepseek-v3", "device": "h200-sxm"},
    {"model": "gpt-oss-120b", "device": "a100-80-sxm"},
])  # fmt: skip
def test_documents_of_other_instances(overrides: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "instance.json"
    workload = {"kind": "burst", "batch_size": 16, "input_tokens": 1024, "output_tokens": 512}
    file.write_text(json.dumps(overrides | {"workload": workload, "limits": {"ttft": "20 s", "max_gpus": 16}}))
    instance = load_instance(file)
    result = solve(instance, settings=Settings(time_limit_s=30))
    assert result.plan is not None
    text = write_document(instance, result)
    audit = audit_document(parse_document(text, name="written.md", suffix=".md"), instance)
    assert doubted(audit) == []


def test_closed_loop_utilisation_is_that_of_solve(tmp_path: Path) -> None:
    file = tmp_path / "instance.json"
    tree = {"model": "qwen3-235b-a22b-fp8", "device": "h100-sxm", "engine": "vllm", "limits": {"max_gpus": 16}}
    workload = {"kind": "closed-loop", "concurrency": 64, "input_tokens": 1000, "output_tokens": 100}
    tree["limits"] = {"tpot": "50 ms", "max_gpus": 16}
    file.write_text(json.dumps(tree | {"workload": workload}))
    instance = load_instance(file)
    result = solve(instance, settings=Settings())
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(result.to_json()))
    comparison = compare((plan,), instance, result)
    assert result.metrics is not None
    for column in (*comparison.plans, comparison.optimum):
        assert column is not None
        assert column.compute_utilisation == result.metrics.compute_utilisation
        assert column.memory_utilisation == result.metrics.memory_utilisation
        assert 0 < (column.compute_utilisation or 0) <= 1
    assert f"Mean memory utilisation: {result.metrics.memory_utilisation:.1%}" in write_document(instance, result)


def test_completion_of_a_full_plan_leaves_nothing_free(instance: Instance, result: Result, tmp_path: Path) -> None:
    assert result.plan is not None
    runs = tuple(item.model_copy(update={"decode_microbatches": 5}) for item in result.plan.microbatches)
    plan = result.plan.model_copy(update={"microbatches": runs})
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(plan.model_dump(mode="json")))
    audit = audit_document(read_document(file), instance)
    _, completion = complete(audit.context, audit.claims, time_limit_s=None)
    assert completion is not None
    kept = completion.stated.plan
    assert completion.stated.fixed == "all stated parts fixed"
    assert [stage.layers for stage in kept.stages] == [stage.layers for stage in plan.stages]
    assert kept.microbatches == runs
    assert kept.microbatch_tokens == plan.microbatch_tokens


def test_wrong_claims_are_those_that_audit_counts(comparison: Comparison, instance: Instance) -> None:
    audit = audit_document(read_document(PLAN), instance)
    claims, _ = complete(audit.context, audit.claims, time_limit_s=None)
    assert comparison.plans[0].wrong_claims == sum(claim.wrong for claim in claims)


def test_command(tmp_path: Path) -> None:
    document = tmp_path / "deployment.md"
    arguments = [str(PLAN), "--instance", str(CASES / "qwen3-235b-a22b.yaml"), "--document", str(document)]
    outcome = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert outcome.exception is None
    assert outcome.return_value == 4
    assert "7x fewer" in outcome.output
    assert "- Total GPUs Required: 5" in document.read_text()
    outcome = CliRunner().invoke(command, [*arguments[:3], "--json"], standalone_mode=False)
    tree = json.loads(outcome.output)
    assert tree["plans"][0]["gpus"] == 35
    assert tree["optimum"]["gpus"] == 5
