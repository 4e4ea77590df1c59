"""Corrections: what a user measured, as factors on predicted times of one model on one device under one engine.

A file of corrections is what ``shardproof check -o FILE`` writes, and what an instance names under ``calibrations``::

    calibrations:
    - device: h100-sxm
      engine: vllm
      model: qwen3-8b
      decode: 1.12
      source: "vllm bench serve, 64 in flight, 2,000 + 300 tokens: TPOT 21.3 ms for 19.0"
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from shardproof.instances.base import Record
from shardproof.instances.engine import EngineName
from shardproof.instances.errors import UNPRINTABLE
from shardproof.instances.reading import read_mapping, validate
from shardproof.instances.units import Ratio

SMALLEST, LARGEST = Fraction(1, 20), Fraction(20)
"""Beyond these no correction is believed: the run was of another deployment."""

TERMS = {"prefill": "time of prompts", "decode": "decode iterations", "wait": "waits for a first token"}


def _believed(factor: Fraction) -> Fraction:
    """Refuse what no run of the same deployment can show."""
    if not SMALLEST <= factor <= LARGEST:
        raise ValueError(f"is beyond {SMALLEST} to {LARGEST}; the run was of another deployment")
    return factor


class Correction(Record):
    """Measured over predicted, by term; 1: as predicted.

    ``prefill``: time of prompts, alone and beside the decode of others; ``decode``: time of an iteration;
    ``wait``: what a first token takes beyond its own prefill in a closed loop; ``source``: what was measured.
    """

    device: str
    engine: EngineName
    model: str
    prefill: Annotated[Ratio, AfterValidator(_believed)] = Fraction(1)
    decode: Annotated[Ratio, AfterValidator(_believed)] = Fraction(1)
    wait: Ratio = Field(default=Fraction(1), ge=0, le=20)
    source: str = Field(min_length=1, max_length=2000)

    @property
    def subject(self) -> tuple[str, str, str]:
        """What it is about."""
        return self.device, self.engine, self.model

    @property
    def words(self) -> str:
        """Factors that differ from 1, in words."""
        found = [
            f"{words} x{float(getattr(self, name)):.4g}" for name, words in TERMS.items() if getattr(self, name) != 1
        ]
        return ", ".join(found) or "nothing is off"


class Corrections(Record):
    """A file of corrections."""

    calibrations: tuple[Correction, ...]

    @model_validator(mode="after")
    def _one_each(self) -> Corrections:
        subjects = [one.subject for one in self.calibrations]
        twice = next((subject for subject in subjects if subjects.count(subject) > 1), None)
        if twice is not None:
            raise ValueError(f"calibrations: {' / '.join(twice)} stands twice; keep the one that holds")
        return self


def read_corrections(path: Path) -> tuple[Correction, ...]:
    """Read a file of corrections.

    Raises
    ------
    InputError
        If it is none.
    """
    return validate(Corrections, read_mapping(path), where=str(path)).calibrations


def chosen(
    named: tuple[str, ...], folder: Path | None, subject: tuple[str, str, str]
) -> tuple[Correction | None, tuple[str, ...]]:
    """Return the correction of a device, engine and model (of several files the last one's), and what to say of it."""
    found, where = None, ""
    for name in named:
        path = Path(name) if folder is None else folder / name
        for one in read_corrections(path):
            if one.subject == subject:
                found, where = one, name
    if not named:
        return None, ()
    device, engine, model = subject
    files = ", ".join(named)
    if found is None:
        return None, (f"calibrations: nothing in {files} is of {model} on {device} under {engine}: not corrected",)
    source = UNPRINTABLE.sub(" ", found.source)
    return found, (f"corrected by measurement ({where}): {found.words}; {source}",)
