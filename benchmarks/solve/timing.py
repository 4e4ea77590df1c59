"""Clocks of the benchmarks, and what the machine was while they ran."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Timed:
    """Seconds by the clock on the wall and by this process's processor time (all threads)."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Machine:
    """What a figure depends on besides the code; ``load`` is the one-minute load average."""

    processor: str
    cores: int
    load: float
    python: str


def timed(work: Callable[[], Answer]) -> tuple[Answer, Timed]:
    """Run something and return its answer with its times."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = work()
    return answer, Timed(time.perf_counter() - wall, time.process_time() - cpu)


def machine() -> Machine:
    """Describe the machine as it is now."""
    return Machine(_processor(), os.cpu_count() or 1, os.getloadavg()[0], platform.python_version())


def peak_memory_bytes(*, children: bool = False) -> int:
    """Largest resident size that this process (or any finished child) has had, bytes."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    peak = resource.getrusage(who).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
