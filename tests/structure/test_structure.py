"""The house keeps its order: imports point one way, the checker stands alone, help is instant."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.oracles.places import ROOT
from tests.structure.imports import PACKAGES, circle, files, graph, imported

ORTOOLS_ALLOWED = (
    "formulations/deployment/",
    "formulations/fleet/program.py",
    "formulations/placement/",
    "solver/search/",
    "solver/placement/",
)


def modules() -> list[Path]:
    return files(*PACKAGES)


def test_no_module_imports_itself_by_a_way_round() -> None:
    """Lazy imports and those for type checking count."""
    assert circle(graph(*PACKAGES, "tests", "benchmarks")) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    later = PACKAGES[PACKAGES.index(package) + 1 :]
    found = [name for name in imported(path) if name.split(".")[0] in later]
    assert found == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_ortools_stays_in_its_rooms(path: Path) -> None:
    uses = any(name.split(".")[0] == "ortools" for name in imported(path))
    assert not uses or str(path.relative_to(ROOT)).startswith(ORTOOLS_ALLOWED)


def test_the_checker_stands_alone() -> None:
    path = ROOT / "solver" / "checkers" / "certificate.py"
    assert {name.split(".")[0] for name in imported(path)} <= sys.stdlib_module_names | {"__future__"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize(
    "module", ["solver.evaluation.evaluate", "solver.checkers.certificate", "formulations.deployment.check"]
)
def test_judges_do_not_load_the_solver(module: str) -> None:
    unwanted = ("ortools", "shardproof.solver.search.prover", "shardproof.solver.search.cp_sat")
    code = f"import sys, shardproof.{module}; print([m for m in {unwanted} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom shardproof.solver import cli\ntry:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('numpy', 'ortools', 'pydantic', 'rich', 'yaml') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_have_a_docstring_and_a_sane_size(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == "" or ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 450
