"""A ledger's key: every byte that decides an answer changes it, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shardproof.solver.batch.fingerprint import HOUSE, NO_PART_IN_ANSWERS, PACKAGES, code_version
from tests.oracles.places import ROOT
from tests.structure.imports import graph


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(HOUSE / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def changed(house: Path, name: str) -> bool:
    """Whether the code's version differs while one byte of a file does."""
    file, before = house / name, code_version(house)
    held = file.read_bytes()
    file.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    try:
        return code_version(house) != before
    finally:
        file.write_bytes(held)


@pytest.mark.parametrize(
    "name",
    [
        "solver/search/walk.py",
        "solver/search/lexicographic.py",
        "solver/placement/greedy.py",
        "solver/placement/local_search.py",
        "solver/problem.py",
        "solver/solve.py",
        "solver/analysis/limiting.py",
        "formulations/costs/serving/work.py",
        "formulations/deployment/cells.py",
        "instances/load_profile/synthetic.py",
        "instances/catalog/serving/factors.json",
        "instances/catalog/serving/confidence.json",
        "instances/catalog/calibrations/h100-sxm.json",
    ],
)
def test_one_byte_of_what_decides_an_answer_changes_the_key(house: Path, name: str) -> None:
    assert changed(house, name)


@pytest.mark.parametrize(
    "name",
    ["instances/catalog/devices/h100-sxm.yaml", "solver/commands/report.py", "instances/cases/qwen3-235b-a22b.yaml"],
)
def test_what_counts_through_the_instance_or_not_at_all_does_not(house: Path, name: str) -> None:
    assert not changed(house, name)


def test_a_copy_elsewhere_has_the_same_version(house: Path) -> None:
    assert code_version(house) == code_version()


def test_all_that_a_solve_imports_counts() -> None:
    arrows = graph(*PACKAGES)
    reached, open_ = set[str](), ["solver.solve", "solver.batch.work"]
    while open_:
        name = open_.pop()
        if name not in reached:
            reached.add(name)
            open_ += arrows[name]
    left_out = tuple(folder.replace("/", ".") + "." for folder in NO_PART_IN_ANSWERS)
    assert len(reached) > 60
    assert [name for name in sorted(reached) if f"{name}.".startswith(left_out)] == []
    assert all((ROOT / folder).is_dir() for folder in NO_PART_IN_ANSWERS)
