"""Options are given once, quantities have units, and what cannot be written is refused before the work."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from shardproof.solver.cli import VERBS
from shardproof.solver.commands.parameters import DURATION, PLOT, WRITABLE, Verb
from shardproof.solver.commands.sensitivity import _written

COMMANDS = {verb: importlib.import_module(f"shardproof.solver.commands.{verb}").command for verb in VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_takes_the_last_of_two(verb: str) -> None:
    command = COMMANDS[verb]
    assert isinstance(command, Verb)
    single = [p for p in command.params if isinstance(p, click.Option) and not (p.multiple or p.count or p.is_flag)]
    for option in single:
        twice = [option.opts[-1], "1", option.opts[-1], "2"]
        answer = CliRunner().invoke(command, twice)
        assert answer.exit_code == 2
        assert "stands twice; keep one of them" in answer.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_time_limit_wants_its_unit(verb: str) -> None:
    limits = [option for option in COMMANDS[verb].params if "--time-limit" in option.opts]
    for option in limits:
        answer = CliRunner().invoke(COMMANDS[verb], ["--time-limit", "40", *_needed(verb)])
        shown = answer.output + str(answer.exception or "")
        assert "has no unit" in shown, option


def _needed(verb: str) -> list[str]:
    return {
        "place": ["--ranks", "4", "--model", "qwen3-30b-a3b", "--profile", "uniform"],
        "batch": ["instances/sweeps/all-skus.yaml"],
        "audit": ["instances/plans/qwen3-235b-handwritten.md"],
        "compare": ["instances/plans/qwen3-235b-handwritten.md"],
    }.get(verb, [])


@pytest.mark.parametrize(("text", "seconds"), [("40 s", 40.0), ("2min", 120.0), ("50 ms", 0.05), ("0 s", 0.0)])
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["-1 s", "soon", "1e999 s", "3"])
def test_odd_durations_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        DURATION.convert(text, None, None)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "x"):
        with pytest.raises(click.BadParameter, match=r"folder"):
            WRITABLE.convert(str(path), None, None)
    assert WRITABLE.convert(str(tmp_path / "x"), None, None) == tmp_path / "x"


def test_a_picture_needs_its_library_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.BadParameter, match="ends in none of"):
        PLOT.convert(str(tmp_path / "x.gif"), None, None)
    monkeypatch.setattr("shardproof.instances.pictures.find_spec", lambda name: None)
    with pytest.raises(click.BadParameter, match="pip install 'shardproof\\[plot\\]'"):
        PLOT.convert(str(tmp_path / "x.png"), None, None)


def test_doctor_says_what_is_there() -> None:
    answer = CliRunner().invoke(COMMANDS["doctor"], ["--json"])
    document = json.loads(answer.output)
    assert document["packages"]["ortools"]
    assert set(document["extras"]) >= {"plot", "ray", "calibrate"}
    assert answer.exit_code == (2 if document["missing"] else 0)
    assert "cores" in CliRunner().invoke(COMMANDS["doctor"]).output


@pytest.mark.parametrize("verb", VERBS)
def test_short_flags_are_alike(verb: str) -> None:
    """``-i`` is the question that a plan answers and ``-o`` where the result goes, in every verb that takes them."""
    options = [option for option in COMMANDS[verb].params if isinstance(option, click.Option)]
    for long, short in (("--instance", "-i"), ("--output", "-o")):
        for option in options:
            assert (long in option.opts) == (short in option.opts), (verb, option.opts)


@pytest.mark.parametrize(("value", "text"), [(500_000, "50%"), (333_333, "33.3333%")])
def test_a_share_is_written_without_needless_digits(value: int, text: str) -> None:
    assert _written(value, "millionths") == text
