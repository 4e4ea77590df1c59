"""A share of the fuzzer's inputs; `python -m benchmarks.fuzz` runs them at full size."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.readers import readers
from benchmarks.fuzz.run import fuzz, names_a_place
from shardproof.instances.errors import Problem

NAMES = (
    "instances pools questions open-loops traces devices sweeps flags page documents plans fleets certificates ledgers "
    "reports configs profiles placements calibrations corrections results start-logs verbs"
).split()
"""Written down, for what the readers begin with is solved: only who runs these tests waits for it."""


def test_every_reader_is_among_them() -> None:
    assert [reader.name for reader in readers()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_hostile_input_ends_in_an_answer_or_one_message(name: str) -> None:
    # a coverage tracer multiplies the time of an input: here only what hangs fails
    assert fuzz(count=8, seed=0, only=[name], say=lambda _line: None, seconds=120) == []


@pytest.mark.parametrize(
    ("problem", "named"),
    [
        (Problem("ledger.sqlite", "", "", "is another program's database; name another file"), True),
        (Problem("plan.yaml", "stages[0].gpus", 0, "give a number of GPUs"), True),
        (Problem("plan.yaml:7", "", "", "cannot follow this"), True),
        (Problem("plan.yaml", "", "", "give a number"), False),
    ],
)
def test_a_message_names_a_field_or_speaks_of_the_whole_file(problem: Problem, *, named: bool) -> None:
    assert names_a_place(problem) is named
