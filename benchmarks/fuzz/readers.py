"""Every reader of the project, with what it normally reads: the targets of the fuzzer."""

from __future__ import annotations

from functools import cache

from benchmarks.fuzz import answers, measurements, questions, verbs
from benchmarks.fuzz.reader import Reader

FAMILIES = (
    "instances", "devices", "plans", "profiles", "sweeps", "certificates", "configs", "ledgers", "flags",
    "calibrations", "results",
)  # fmt: skip
"""Kinds of input, each with one reader or several."""


@cache
def readers() -> tuple[Reader, ...]:
    """Every reader under test; what they begin with is solved once."""
    files = (*questions.readers(), *answers.readers(), *measurements.readers())
    return (*files, *verbs.readers(files))
