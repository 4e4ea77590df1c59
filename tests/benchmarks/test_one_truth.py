"""One plan through solve, predict, audit and compare: the same figures, on random questions."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.one_truth import differences, questions
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve

SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_verbs_say_the_same_of_one_plan(seed: int, tmp_path: Path) -> None:
    ((tree, instance),) = questions(1, seed)
    result = solve(instance, settings=Settings(time_limit_s=10, explain=False))
    assert differences(instance, result, tmp_path) == [], tree
