"""The house keeps its order: imports point one way, the checker stands alone, help is instant."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.oracles.places import ROOT
from tests.structure.imports import PACKAGES, circle, files, graph, imported, tree_of

ORTOOLS_ALLOWED = (
    "formulations/deployment/",
    "formulations/fleet/program.py",
    "formulations/pools/program.py",
    "formulations/pools/proposal.py",
    "formulations/pools/relaxation.py",
    "formulations/placement/",
    "solver/search/",
    "solver/placement/",
    "solver/pools/packing.py",
)

ROOMS = (
    "checkers",
    "checker",
    "placement",
    "problem",
    "proof",
    "search",
    "evaluation",
    "simulation",
    "analysis",
    "exporters",
    "benchmarking",
    "documents",
    "result",
    "volumes",
    "solve",
    "open_loop",
    "pools",
    "apart",
    "answer",
    "alternatives",
    "writers",
    "audit",
    "calibration",
    "batch",
    "drawing",
    "report",
    "api",
    "page",
    "commands",
    "cli",
)
"""Rooms of solver/, low to high: a room imports from those before it. A new room takes its place here."""

LONGEST = 450
"""Lines of the longest file."""

LONGEST_CHECKER = {"placement": 400}
"""Lines of a checker, where these are more than `CHECKER`."""
CHECKER = 250


def modules() -> list[Path]:
    return files(*PACKAGES)


def test_no_module_imports_itself_by_a_way_round() -> None:
    """Lazy imports and those for type checking count."""
    assert circle(graph(*PACKAGES, "tests", "benchmarks")) == []


def shown(paths: Iterable[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_imports_point_one_way() -> None:
    def points_up(path: Path) -> bool:
        later = PACKAGES[PACKAGES.index(path.relative_to(ROOT).parts[0]) + 1 :]
        return any(name.split(".")[0] in later for name in imported(path))

    assert shown(filter(points_up, modules())) == []


def test_ortools_stays_in_its_rooms() -> None:
    users = [path for path in modules() if any(name.split(".")[0] == "ortools" for name in imported(path))]
    assert [path for path in shown(users) if not path.startswith(ORTOOLS_ALLOWED)] == []


def room_of(module: str) -> int:
    return ROOMS.index(module.split(".")[1])


OWN_CLOCKS = ("instances/clock.py", "solver/batch/", "solver/page/", "solver/placement/", "solver/commands/progress.py")


def test_time_limits_are_measured_by_one_clock() -> None:
    """A limit that is set on `instances.clock` and compared with another clock ends at once, or never."""
    users = [path for path in modules() if "time.monotonic" in path.read_text(encoding="utf-8")]
    assert [path for path in shown(users) if not path.startswith(OWN_CLOCKS)] == []


def test_every_file_of_the_solver_is_in_a_known_room() -> None:
    rooms = {path.relative_to(ROOT).parts[1].removesuffix(".py") for path in files("solver")}
    assert rooms - {"__init__"} <= set(ROOMS)


def test_rooms_import_downwards() -> None:
    arrows = [(name, below) for name, found in graph("solver").items() for below in found if name != "solver"]
    assert [(name, below) for name, below in arrows if room_of(below) > room_of(name)] == []


def test_rooms_of_the_formulations_form_no_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for name, found in graph("formulations").items():
        room = arrows.setdefault(".".join(name.split(".")[:2]), set())
        room |= {".".join(below.split(".")[:2]) for below in found} - {".".join(name.split(".")[:2])}
    assert circle(arrows) == []


def test_costs_and_engines_know_no_program() -> None:
    arrows = graph("formulations")
    rooms = ("formulations.costs", "formulations.engines")
    names = [(name, below) for name, found in arrows.items() for below in found if name.startswith(rooms)]
    assert [pair for pair in names if pair[1].startswith("formulations.deployment")] == []


def test_one_door_leads_to_the_deployment_problem() -> None:
    """A question that is built beside `deployment_of` forgets what belongs to it: confidence, load profiles."""

    def builds(path: Path) -> bool:
        calls = (node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
        return any("Deployment" in (getattr(func, "id", ""), getattr(func, "attr", "")) for func in calls)

    assert shown(filter(builds, files("solver", "benchmarks"))) == ["solver/problem.py"]


@pytest.mark.parametrize("name", ["apart", "certificate", "open_loop", "open_loop_work", "placement", "pools"])
def test_a_checker_stands_alone(name: str) -> None:
    """What a sceptic runs is a file that can be read in an hour, and needs nothing but Python (and its neighbour)."""
    path = ROOT / "solver" / "checkers" / f"{name}.py"
    assert {found.split(".")[0] for found in imported(path)} <= sys.stdlib_module_names | {"__future__"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_CHECKER.get(name, CHECKER)
    known = {"__init__", "apart", "certificate", "open_loop", "open_loop_work", "placement", "pools", "pools_problem"}
    assert known == {file.stem for file in path.parent.glob("*.py")}


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


def test_a_question_of_one_device_loads_nothing_of_several() -> None:
    code = (
        "import sys\nfrom shardproof.solver import cli\ntry:\n    cli.main(['solve', sys.argv[1]])\n"
        "except SystemExit:\n    pass\n"
        "rooms = ('instances.pools', 'solver.pools', 'solver.open_loop', 'solver.simulation', 'solver.batch')\n"
        "print([m for m in sys.modules if m.split('.')[0] == 'ortools' or m.removeprefix('shardproof.') in rooms])"
    )
    case = ROOT / "instances" / "cases" / "qwen3-235b-a22b.yaml"
    run = subprocess.run([sys.executable, "-c", code, case], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip().splitlines()[-1] == "[]"


def test_files_have_a_docstring_and_a_sane_size() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in modules()}
    assert shown(path for path, text in texts.items() if text and not ast.get_docstring(tree_of(path))) == []
    assert shown(path for path, text in texts.items() if len(text.splitlines()) > LONGEST) == []


def test_one_door_to_the_terminal() -> None:
    """Whatever a verb prints passes `solver/commands/printing.py`; live lines and the version have their own way."""
    own = {"printing.py", "progress.py", "sensitivity.py", "cli.py", "crossvalidate.py"}
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "solver").rglob("*.py")}
    assert {name for name, text in texts.items() if "click.echo(" in text or "click.secho(" in text} <= own
