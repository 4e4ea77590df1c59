"""Every reader of the project, with what it normally reads: the targets of the fuzzer."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.fuzz import answers, measurements, questions, verbs
from benchmarks.fuzz.reader import Reader

FAMILIES = (
    "instances", "devices", "plans", "profiles", "sweeps", "certificates", "configs", "ledgers", "flags",
    "calibrations", "results",
)  # fmt: skip
"""Kinds of input, each with one reader or several."""


def readers() -> Iterator[Reader]:
    """Every reader under test."""
    yield from questions.readers()
    yield from answers.readers()
    yield from measurements.readers()
    yield from verbs.readers()
