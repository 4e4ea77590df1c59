"""`shardproof audit` as a command: exit codes, one JSON document, plain text without markup."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from shardproof.solver.commands.audit import command
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
