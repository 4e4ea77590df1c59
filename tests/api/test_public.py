"""The public names: pinned, lazy, silent; one per verb; keywords are the command line's flags."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

import shardproof
from shardproof.solver.api.options import WHOLE, WORDS
from shardproof.solver.api.question import FIELDS, Fields
from shardproof.solver.cli import VERBS, application
from tests.oracles.places import ROOT

FUNCTIONS = (
    "audit batch batch_tasks bench calibrate catalog check compare doctor explain export load_instance load_plan page "
    "place place_within predict question report schema sensitivity simulate solve verify"
).split()
RECORDS = (
    "Audited AuditedFleet Batched Benched Calibrated Checked Catalogued Compared Explained Exported Instance Placed "
    "PlacedWithin Plan Predicted Problem Reported Sensitivity Setup Simulated Solved SolvedFleet Stage Verified "
    "ComparedFleets ExplainedFleet FleetSensitivity"
).split()
ERRORS = ["CheckFailed", "InputError", "InternalError", "ShardproofError"]
HEAVY = ("numpy", "ortools", "pydantic", "yaml", "click", "rich", "jinja2", "importlib.metadata", "tomllib")


def test_public_names_are_pinned() -> None:
    assert sorted(shardproof.__all__) == sorted([*FUNCTIONS, *RECORDS, *ERRORS, "__version__"])
    assert set(shardproof.__all__) <= set(dir(shardproof))
    for name in shardproof.__all__:
        assert inspect.getdoc(getattr(shardproof, name)), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'solv'"):
        _ = shardproof.solv


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_tree(name: str) -> None:
    assert issubclass(getattr(shardproof, name), shardproof.ShardproofError)


def test_the_version_is_that_of_the_clone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert shardproof.__version__ == project["version"]


def test_answers_name_the_version_that_gave_them() -> None:
    from shardproof.solver.solve import versions

    assert versions()["shardproof"] == shardproof.__version__


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, shardproof; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


def test_every_verb_is_a_function() -> None:
    missing = [verb for verb in VERBS if verb not in shardproof.__all__]
    assert missing == [], "a verb computes nothing that the API cannot: add it to shardproof/__init__.py"


def test_typed_fields_are_the_list_of_fields() -> None:
    assert list(Fields.__annotations__) == list(FIELDS)


@pytest.mark.parametrize("verb", ["solve", "explain", "sensitivity", "predict", "simulate", "export", "bench", "check"])
def test_keywords_are_the_flags(verb: str) -> None:
    command = application.get_command(click.Context(application), verb)
    assert command is not None
    parameters = set(inspect.signature(getattr(shardproof, verb)).parameters)
    flags = {option.name for option in command.params if isinstance(option, click.Option)}
    written_by_python = {"as_json", "output", "exports", "write_instance", "certificate", "plot"}
    assert flags - written_by_python - {"instance"} <= parameters
    assert set(FIELDS) <= flags


@pytest.mark.parametrize("verb", ["audit", "compare", "place", "batch"])
def test_options_are_keywords(verb: str) -> None:
    command = application.get_command(click.Context(application), verb)
    assert command is not None
    parameters = set(inspect.signature(getattr(shardproof, verb)).parameters)
    if verb == "place":
        parameters |= set(inspect.signature(shardproof.place_within).parameters)
    flags = {option.name for option in command.params if isinstance(option, click.Option)}
    shown = {"as_json", "every", "document", "exports", "certificate", "heatmap", "rank_by", "top", "only_list"}
    renamed = {"profiles": "profile", "target_gap": "gap"}
    assert {renamed.get(flag, flag) for flag in flags - shown} <= parameters


@pytest.mark.parametrize("path", sorted((ROOT / "solver" / "commands").glob("*.py")), ids=lambda path: path.stem)
def test_commands_compute_nothing(path: Path) -> None:
    searched = ("search", "solve", "problem", "analysis", "proof", "checkers", "audit.audit", "audit.completion")
    found = [
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and not _only_types(path, node)
    ]
    wrong = [module for module in found if module.removeprefix("shardproof.solver.").startswith(searched)]
    assert wrong == [], "call shardproof.solver.api instead"
    assert not any(module.startswith("shardproof.formulations") for module in found)


def _only_types(path: Path, node: ast.ImportFrom) -> bool:
    """Return whether an import stands under ``if TYPE_CHECKING``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    blocks = [item for item in tree.body if isinstance(item, ast.If) and ast.unparse(item.test) == "TYPE_CHECKING"]
    return any(block.lineno <= node.lineno <= (block.end_lineno or 0) for block in blocks)


@pytest.mark.parametrize("verb", ["solve", "sensitivity", "simulate", "place", "batch", "calibrate"])
def test_limits_of_options_are_those_of_the_flags(verb: str) -> None:
    command = application.get_command(click.Context(application), verb)
    assert command is not None
    for option in command.params:
        kind, name = option.type, str(option.name)
        if isinstance(kind, click.IntRange) and name in WHOLE:
            low, high = WHOLE[name]
            assert (kind.min, kind.max or high) == (low, high), name
        elif isinstance(kind, click.Choice) and name in WORDS:
            assert tuple(kind.choices) == WORDS[name], name


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("solve", {"workers": 0}),
        ("solve", {"workers": True}),
        ("solve", {"seed": 1.5}),
        ("solve", {"search": "fast"}),
        ("sensitivity", {"points": 0}),
        ("simulate", {"plan": "none.yaml", "router": "best"}),
        ("simulate", {"plan": "none.yaml", "seeds": 0}),
        ("place", {"ranks": 0}),
        ("place", {"ranks": 2, "serve": "best"}),
        ("place_within", {"ranks": 2, "max_imbalance": 1.1, "layers": 0}),
        ("batch", {"sweep": "none.yaml", "formats": ["xml"]}),
        ("batch", {"sweep": "none.yaml", "engine": "threads"}),
        ("calibrate", {"folds": -1}),
    ],
)
def test_options_out_of_their_limits_are_input_errors(verb: str, options: dict[str, Any]) -> None:
    with pytest.raises(shardproof.InputError, match="write"):
        getattr(shardproof, verb)(**options)
