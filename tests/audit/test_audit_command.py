"""`shardproof audit` as a command: exit codes, one JSON document, plain text without markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from shardproof.instances.resolve import resolve_tree
from shardproof.solver.commands.audit import command
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve
from tests.oracles.places import ROOT

PLAN = ROOT / "instances" / "plans" / "qwen3-235b-handwritten.md"


def test_json() -> None:
    outcome = CliRunner().invoke(command, [str(PLAN), "--json"], standalone_mode=False)
    tree = json.loads(outcome.output)
    assert outcome.return_value == 4
    assert {"claims", "violations", "unread", "completion"} <= set(tree)
    assert tree["completion"]["relaxed"][-1]["gpus"] == 5


def test_clean_plan_ends_with_zero() -> None:
    plan = ROOT / "tests" / "data" / "documents" / "clean-vllm.sh"
    outcome = CliRunner().invoke(command, [str(plan)], standalone_mode=False)
    assert outcome.return_value == 0
    assert "0 contradicted; 0 inconsistent" in outcome.output


def test_text_shows_markup_as_it_stands(tmp_path: Path) -> None:
    plan = tmp_path / "plan.md"
    plan.write_text("# Plan\n\n- Model: Qwen3-32B [bold red]\n- Layers: 60 \x1b[31m[/nothing]\n- TP: 4\n")
    outcome = CliRunner().invoke(command, [str(plan), "--no-completion"], standalone_mode=False)
    assert outcome.return_value == 4
    assert "\x1b" not in outcome.output
    assert "[/nothing]" in outcome.output


@pytest.mark.parametrize("flag", ["margin", "confidence"])
def test_no_row_holds_beside_its_own_violation(tmp_path: Path, flag: str) -> None:
    """A plan within the limit, but not within the margin of it, is broken in both lists."""
    case = {
        "model": "qwen3-8b",
        "device": "h100-sxm",
        "engine": "vllm",
        "workload": {"kind": "closed-loop", "concurrency": 8, "input_tokens": 512, "output_tokens": 128},
        "limits": {"max_gpus": 1},
    }
    result = solve(resolve_tree(case, where="x"), settings=Settings(certify=False, explain=False))
    plan, question = tmp_path / "plan.json", tmp_path / "case.yaml"
    plan.write_text(json.dumps(result.to_json()))
    limits = {"max_gpus": 1, "tpot": f"{result.metrics.tpot_ms * 1.02:.6f} ms"}
    asked = case | {"limits": limits, flag: {"margin": "10%", "confidence": "90%"}[flag]}
    question.write_text(yaml.safe_dump(asked))
    arguments = [str(plan), "--instance", str(question), "--no-completion", "--json"]
    tree = json.loads(CliRunner().invoke(command, arguments, standalone_mode=False).output)
    broken = {(row["group"], row["index"]): row for row in tree["violations"]}
    assert ("tpot[main]", "plan") in broken
    checks = {(row["group"], row["index"]): row for row in tree["checks"]}
    assert {key for key, row in checks.items() if not row["holds"]} == set(broken)
    assert all(checks[key]["limit"] == row["limit"] for key, row in broken.items())
