"""A share of the fuzzer's inputs; `python -m benchmarks.fuzz` runs them at full size."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.readers import readers
from benchmarks.fuzz.run import fuzz

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
    assert fuzz(count=20, seed=0, only=[name], say=lambda _line: None, seconds=120) == []
