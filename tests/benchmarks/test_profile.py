"""The profile of slow answers: times are put down to the room of the code that took them."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import profile


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("/x/solver/search/walk.py", "solver.search"),
        ("/x/shardproof/formulations/costs/serving/work.py", "formulations.costs.serving"),
        ("/x/shardproof/solver/solve.py", "solver"),
        ("/x/site-packages/numpy/core/fromnumeric.py", "numpy"),
        ("~", "other"),
        ("/usr/lib/python3/fractions.py", "other"),
    ],
)
def test_a_file_lies_in_its_room(path: str, room: str) -> None:
    assert profile.room_of(path) == room


def test_rooms_and_functions_add_up_their_own_seconds() -> None:
    stats: dict[tuple[str, int, str], Any] = {
        ("/x/solver/search/walk.py", 1, "solve"): (1, 1, 2.0, 5.0, {}),
        ("/x/solver/search/view.py", 1, "far"): (3, 4, 1.0, 1.0, {}),
        ("~", 0, "max"): (9, 9, 0.5, 0.5, {}),
    }
    assert profile.by_room(stats) == [("solver.search", 3.0), ("other", 0.5)]
    assert profile.by_function(stats, 1) == [("solver.search.walk.solve", 1, 2.0, 5.0)]


def test_one_case_is_solved_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    small = profile.burst("qwen3-8b", "h100-sxm", 4, (100, 10), ttft="1 s")
    monkeypatch.setattr(profile, "QUESTIONS", {"small": small})
    found = CliRunner().invoke(profile.main, ["small"])
    assert found.exit_code == 0, found.output
    assert "optimal     GPUs 1, bound 1" in found.output
    assert "seconds by room" in found.output
    assert "solver.search" in found.output
