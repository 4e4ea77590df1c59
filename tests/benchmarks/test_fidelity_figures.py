"""The fidelity report: a target without rows does not hold, and what was missed is said."""

from __future__ import annotations

import pytest

from benchmarks.fidelity.__main__ import holds, verdict
from benchmarks.fidelity.figure import figure, share_figure
from benchmarks.fidelity.rows import cache_of

MET, MISSED = figure("met", [0.01, -0.02], target=0.05), figure("missed", [0.2, -0.3], target=0.05)
EMPTY, FREE = figure("empty", [], target=0.05), figure("free", [0.5])


def test_a_target_without_rows_does_not_hold() -> None:
    assert [holds(one) for one in (MET, MISSED, EMPTY, FREE)] == [True, False, None, None]
    assert holds(share_figure("none", [], target=0.1)) is None
    assert holds(share_figure("few", [False] * 99 + [True], target=0.02)) is True


def test_the_verdict_names_what_was_missed_and_what_had_no_rows() -> None:
    said = verdict([MET, MISSED, EMPTY, FREE])
    assert "missed 1 of 3 targets" in said
    assert "missed: 25.00% for 5.0%" in said
    assert "no rows for 1: empty" in said
    assert "holds" not in said


@pytest.mark.parametrize(
    ("harness", "precision", "architecture", "engine", "expected"),
    [
        ("anybody", "fp8", "Hopper", "trtllm", "fp8"),
        ("anybody", "bf16", "Blackwell", "trtllm", "bf16"),
        ("anybody", "fp4", "Blackwell", "vllm", "bf16"),
        ("inferencex_db", "fp4", "Blackwell Ultra", "vllm", "fp8"),
        ("inferencex_db", "fp8", "Blackwell", "sglang", "fp8"),
        ("inferencex_db", "fp8", "Hopper", "sglang", "bf16"),
        ("inferencex_db", "int4", "Blackwell", "vllm", "bf16"),
    ],
)
def test_a_row_is_held_by_the_cache_that_it_was_launched_with(
    harness: str, precision: str, architecture: str, engine: str, expected: str
) -> None:
    assert cache_of(harness, precision, architecture, engine) == expected
