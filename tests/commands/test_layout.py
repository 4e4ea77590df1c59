"""What is printed fits the terminal, commands can be copied, and one is singular."""

from __future__ import annotations

import shlex

import pytest
from click.testing import CliRunner

from shardproof.solver.cli import VERBS, application
from shardproof.solver.writers.layout import command, counted, engine_lines, outline
from tests.oracles.places import ROOT

MAIN = str(ROOT / "instances" / "cases" / "qwen3-235b-a22b.yaml")
WRITTEN = str(ROOT / "instances" / "plans" / "qwen3-235b-handwritten.md")
SMALL = "--model qwen3-8b --device h100-sxm --isl 512 --osl 128 --batch-size 8 --ttft 2s --max-gpus 4 --engine vllm"
LAUNCH = (
    "VLLM_PP_LAYER_PARTITION=26,28,26 vllm serve a/b --tensor-parallel-size 1 --kv-cache-dtype fp8 --max-num-seqs 32"
)


def printed(*arguments: str, width: int) -> str:
    run = CliRunner().invoke(application, list(arguments), env={"COLUMNS": str(width), "NO_COLOR": "1"})
    assert run.exception is None or isinstance(run.exception, SystemExit), run.output
    return run.output


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(
    "arguments", [["solve", MAIN], ["solve", *SMALL.split()], ["explain", MAIN], ["audit", WRITTEN]]
)
def test_nothing_is_wider_than_the_terminal(arguments: list[str], width: int) -> None:
    lines = printed(*arguments, width=width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert lines == [line.rstrip() for line in lines]


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_80_columns(verb: str) -> None:
    assert max(len(line) for line in printed(verb, "--help", width=80).splitlines()) <= 80


def test_a_dense_model_has_no_experts() -> None:
    assert "dense FFN" in printed("solve", *SMALL.split(), width=80)
    assert "dense FFN" not in printed("solve", MAIN, width=80)


def test_verdict_plan_reasons_and_assumptions_come_in_this_order() -> None:
    text = printed("solve", *SMALL.split(), width=80)
    places = [text.index(word) for word in ("1 GPU;", "optimal", "stage", "TTFT", "Run it with", "Why", "Assumed")]
    assert places == sorted(places)
    assert text.startswith("qwen3-8b on h100-sxm: 1 GPU;")
    assert "1 replica x 1 stage," in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_command_is_broken_before_flags_alone(width: int) -> None:
    shown = command(LAUNCH, width=width)
    assert shlex.split(shown.replace("\\\n", "")) == shlex.split(LAUNCH)
    assert all(row.lstrip().startswith("--") for row in shown.splitlines()[1:])
    assert (width == 200) == ("\n" not in shown)


def test_settings_of_an_engine_are_no_items_of_a_list() -> None:
    lines = ("trtllm-serve a/model --config config.yaml", "max_num_tokens: 8192", "one note: of many")
    assert list(engine_lines(lines, width=80)) == [
        "  trtllm-serve a/model --config config.yaml",
        "  config.yaml:",
        "    max_num_tokens: 8192",
        "  - one note: of many",
    ]


def test_an_item_keeps_its_indent_and_a_word_is_never_cut() -> None:
    assert outline("  - aaa bbb\nlonger-than-wide", width=9) == "  - aaa\n    bbb\nlonger-than-wide"


def test_one_is_singular() -> None:
    assert (counted(1, "GPU"), counted(2, "GPU"), counted(1024, "GPU")) == ("1 GPU", "2 GPUs", "1,024 GPUs")
