"""`doctor`: what is installed, which extras are missing, and what this machine has."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from shardproof.solver.api.record import Answered

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_GPU_S = 10


@dataclass(frozen=True, repr=False)
class Setup(Answered):
    """Versions of the packages (``None``: missing), what each extra still lacks, and the machine."""

    shardproof: str | None
    python: str
    platform: str
    packages: Mapping[str, str | None]
    extras: Mapping[str, Sequence[str]]
    cores: int
    memory_bytes: int | None
    gpus: Sequence[str]

    @property
    def missing(self) -> list[str]:
        """Required packages that are not installed."""
        return [name for name, version in self.packages.items() if version is None]

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``doctor --json`` prints."""
        return {**asdict(self), "missing": self.missing}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each package."""
        return [{"package": name, "version": version} for name, version in self.packages.items()]


def doctor() -> Setup:
    """Look at what is installed and at the machine."""
    own, packages, extras = _packages()
    return Setup(
        shardproof=own,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=packages,
        extras=extras,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None,
        gpus=_gpus(),
    )


def _packages() -> tuple[str | None, dict[str, str | None], dict[str, list[str]]]:
    """Return the own version, versions of what is required, and of every extra what it lacks."""
    try:
        requires = metadata.requires("shardproof") or []
        own = metadata.version("shardproof")
    except metadata.PackageNotFoundError:
        return None, {}, {}
    packages: dict[str, str | None] = {}
    extras: dict[str, list[str]] = {}
    for line in requires:
        name = _NAME.match(line)
        if name is None:
            continue
        extra = _EXTRA.search(line)
        found = _version(name[0])
        if extra is None:
            packages[name[0]] = found
        else:
            extras.setdefault(extra[1], [])
            if found is None:
                extras[extra[1]].append(name[0])
    return own, packages, extras


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    """Names of NVIDIA devices by their driver's own tool; none where it is missing or does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_GPU_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
