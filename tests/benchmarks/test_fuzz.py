"""A share of the fuzzer's inputs; `python -m benchmarks.fuzz` runs them at full size."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.readers import readers
from benchmarks.fuzz.run import fuzz

NAMES = [reader.name for reader in readers()]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_input_ends_in_an_answer_or_one_message(name: str) -> None:
    # a coverage tracer multiplies the time of an input: here only what hangs fails
    assert fuzz(count=20, seed=0, only=[name], say=lambda _line: None, seconds=120) == []
