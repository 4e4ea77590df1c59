"""`export`, `bench` and `check` at the command line: files, lines, exit codes, one message for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from shardproof.solver.cli import main
from tests.benchmarking.test_results import PLAN, QUESTION, VLLM


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    plan, case = tmp_path / "plan.yaml", tmp_path / "case.yaml"
    plan.write_text(yaml.safe_dump(PLAN))
    case.write_text(yaml.safe_dump(QUESTION))
    return str(plan), str(case)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_export_names_what_it_wrote(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, case = files
    assert run("export", plan, "-i", case, "--to", "kubernetes", "-o", str(tmp_path / "out")) == 0
    shown = capsys.readouterr().out.split()
    assert shown
    assert all(Path(name).is_file() for name in shown)


@pytest.mark.parametrize(
    ("target", "folder", "said"),
    [
        ("heroku", "out", "is no target"),
        ("sglang", "out", "export it to vllm"),
        ("vllm", "no/such/out", "make it first"),
    ],
)
def test_what_cannot_be_exported_is_one_message(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, folder: str, said: str
) -> None:
    plan, case = files
    assert run("export", plan, "-i", case, "--to", target, "-o", str(tmp_path / folder)) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_export_of_solve_needs_target_and_folder(capsys: pytest.CaptureFixture[str], files: tuple[str, str]) -> None:
    assert run("solve", files[1], "--export", "kubernetes") == 2
    assert "TARGET=DIR" in capsys.readouterr().err


def test_bench_prints_lines_and_writes_them(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, case = files
    assert run("bench", plan, "-i", case, "--tool", "vllm", "-o", str(tmp_path / "b")) == 0
    assert capsys.readouterr().out.startswith("vllm bench serve ")
    assert (tmp_path / "b" / "main.vllm.sh").is_file()


def test_check_ends_with_4_where_a_figure_is_outside(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, case = files
    result = tmp_path / "r.json"
    result.write_text(json.dumps(VLLM | {"mean_tpot_ms": 500.0}))
    assert run("check", plan, str(result), "-i", case, "--seeds", "1") == 4
    assert "tpot is off" in capsys.readouterr().out
    assert run("check", plan, str(result), "-i", case, "--seeds", "1", "--json") == 4
    rows = json.loads(capsys.readouterr().out)["parts"][0]["rows"]
    assert {row["verdict"] for row in rows} >= {"outside", "no interval"}


def test_check_without_anything_measured_is_one_message(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", files[0], "-i", files[1]) == 2
    assert "--log" in capsys.readouterr().err
