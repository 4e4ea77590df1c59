"""Keys of a ledger: all that determines an answer, and nothing that does not.

What counts: the instance by its own fingerprint (its content after defaults; a certificate and a plan know it by
the same), the names of model and device, which stand in the answer, the code and measured factors of this release,
the solver's version, seed, workers, and the limits of a task. What does not: the instance's own name, notes,
sources, places of files, and the price of a device, so that a new price costs no solve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from shardproof import instances
from shardproof.instances.instance import Instance
from shardproof.instances.pools import PoolsQuestion

_SOLVERS = ("numpy", "ortools", "pydantic")


@dataclass(frozen=True)
class SolveSettings:
    """How every task of a batch is solved; all of it is part of a fingerprint."""

    time_limit_s: float = 60.0
    memory_limit_bytes: int | None = None
    workers: int = 1
    seed: int = 0
    certify: bool = False
    explain: bool = False


HOUSE = Path(str(instances.__file__)).parent.parent
"""Folder that holds the three packages."""

PACKAGES = ("instances", "formulations", "solver")

NO_PART_IN_ANSWERS = (
    "instances/catalog/models",
    "instances/catalog/devices",
    "instances/cases",
    "instances/plans",
    "instances/sweeps",
    "solver/audit",
    "solver/calibration",
    "solver/commands",
    "solver/documents",
    "solver/drawing",
    "solver/page",
    "solver/report",
    "solver/writers",
)
"""Folders whose files change no answer: items that count through the instance, questions, and readers of answers."""


def code_version(house: Path = HOUSE) -> str:
    """Return the SHA-256 of every file that can change an answer, and of the solvers' versions."""
    digest = hashlib.sha256()
    for file in _deciding(house):
        digest.update(f"{file.relative_to(house).as_posix()} {file.stat().st_size} ".encode())
        digest.update(file.read_bytes())
    for name in _SOLVERS:
        digest.update(f"{name} {metadata.version(name)}".encode())
    return digest.hexdigest()


def _deciding(house: Path) -> Iterator[Path]:
    left_out = {house / folder for folder in NO_PART_IN_ANSWERS}
    for package in PACKAGES:
        for file in sorted((house / package).rglob("*")):
            if file.is_file() and file.suffix != ".pyc" and not left_out & set(file.parents):
                yield file


def fingerprint(instance: Instance, settings: SolveSettings, code: str) -> str:
    """Return the SHA-256 of all that determines the answer to an instance."""
    named = f"{instance.model.name} {instance.device.name}"
    return hashlib.sha256(f"{code} {settings} {instance.fingerprint} {named}".encode()).hexdigest()


def fleet_fingerprint(question: PoolsQuestion, settings: SolveSettings, code: str) -> str:
    """Return the SHA-256 of all that determines the answer to a question about several devices or models."""
    named = " ".join([stock.name for stock in question.offers] + [pool.name for pool in question.pools])
    return hashlib.sha256(f"fleet {code} {settings} {question.fingerprint} {named}".encode()).hexdigest()


def refused_fingerprint(text: str, code: str) -> str:
    """Return the key of a combination that was refused for a reason."""
    return hashlib.sha256(f"refused {code} {text}".encode()).hexdigest()
