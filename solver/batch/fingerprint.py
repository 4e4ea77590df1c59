"""Fingerprints: all that determines an answer, and nothing that does not.

What counts: the instance after defaults with the catalogue's values, the code of the formulation and of the
search with its measured factors, the solver's version, seed, workers, and the limits of a task; names of model and
device too, since factors of measured deployments are found by them. What does not: the instance's own name, notes,
sources, and the price of a device (a price limit has become a GPU budget by then), so that a new price costs no solve.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from shardproof import formulations, instances, solver
from shardproof.instances.instance import Instance

_LEFT_OUT: Any = {
    "name": True,
    "assumptions": True,
    "load_profile": True,
    "model": {"source", "notes", "family", "published_parameters"},
    "device": {"source", "sources", "notes", "vendor", "architecture", "price_per_hour"},
}
_SOLVERS = ("ortools", "pydantic")


@dataclass(frozen=True)
class SolveSettings:
    """How every task of a batch is solved; all of it is part of a fingerprint."""

    time_limit_s: float = 60.0
    memory_limit_bytes: int | None = None
    workers: int = 1
    seed: int = 0
    certify: bool = False
    explain: bool = False


CODE = (
    (instances, "**/*.py"),
    (instances, "catalog/serving/*"),
    (instances, "catalog/calibrations/*"),
    (formulations, "**/*"),
    (solver, "**/*.py"),
)
"""Packages, and the files in them that can change an answer; the catalogue's items count through the instance."""


def code_version() -> str:
    """Return the SHA-256 of the code that can change an answer, and of the solver's version."""
    digest = hashlib.sha256()
    for package, pattern in CODE:
        root = Path(str(package.__file__)).parent
        for file in sorted(root.glob(pattern)):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(root)).encode())
                digest.update(file.read_bytes())
    for name in _SOLVERS:
        digest.update(f"{name} {metadata.version(name)}".encode())
    return digest.hexdigest()


def fingerprint(instance: Instance, settings: SolveSettings, code: str) -> str:
    """Return the SHA-256 of all that determines the answer to an instance."""
    digest = hashlib.sha256(f"{code} {settings}".encode())
    digest.update(instance.model_dump_json(exclude=_LEFT_OUT).encode())
    if instance.load_profile is not None:
        digest.update(_profile(instance.load_profile))
    return digest.hexdigest()


def refused_fingerprint(text: str, code: str) -> str:
    """Return the key of a combination that was refused for a reason."""
    return hashlib.sha256(f"refused {code} {text}".encode()).hexdigest()


def _profile(name: str) -> bytes:
    path = Path(name)
    return path.read_bytes() if path.is_file() else name.encode()
