"""The whole ``solve`` process of the main case beside the import of CP-SAT alone, in alternating pairs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.solve.timing import Timed

CASE = Path("instances/cases/qwen3-235b-a22b.yaml")
YARDSTICK = "from ortools.sat.python import cp_model"


@dataclass(frozen=True)
class Pair:
    """One run of each process, one right after the other; ``memory_bytes`` is the solve's largest residence."""

    solve: Timed
    yardstick: Timed
    memory_bytes: int

    @property
    def ratio(self) -> float:
        """Solve over yardstick, by the clock on the wall."""
        return self.solve.wall_s / self.yardstick.wall_s

    @property
    def cpu_ratio(self) -> float:
        """Solve over yardstick, by processor time: a busy machine disturbs it less."""
        return self.solve.cpu_s / self.yardstick.cpu_s


def measure(*, count: int, case: Path = CASE, dropped: int = 1) -> list[Pair]:
    """Run pairs: solve, yardstick, solve, yardstick, ...; the first ones warm the file cache and are dropped."""
    solving = [sys.executable, "-m", "shardproof.solver.cli", "solve", str(case)]
    importing = [sys.executable, "-c", YARDSTICK]
    found = []
    for place in range(dropped + count):
        solve, memory = _run(solving)
        yardstick, _ = _run(importing)
        if place >= dropped:
            found.append(Pair(solve, yardstick, memory))
    return found


def summary(pairs: list[Pair]) -> dict[str, Any]:
    """Medians of both processes, and the median of the ratios pair by pair."""
    return {
        "pairs": len(pairs),
        "solve_wall_s": median(pair.solve.wall_s for pair in pairs),
        "yardstick_wall_s": median(pair.yardstick.wall_s for pair in pairs),
        "ratio_wall": median(pair.ratio for pair in pairs),
        "ratios_wall": [round(pair.ratio, 2) for pair in pairs],
        "solve_cpu_s": median(pair.solve.cpu_s for pair in pairs),
        "yardstick_cpu_s": median(pair.yardstick.cpu_s for pair in pairs),
        "ratio_cpu": median(pair.cpu_ratio for pair in pairs),
        "ratios_cpu": [round(pair.cpu_ratio, 2) for pair in pairs],
        "solve_memory_bytes": max(pair.memory_bytes for pair in pairs),
    }


def _run(arguments: list[str]) -> tuple[Timed, int]:
    """Run a process to its end; return its times and its largest resident size, bytes (Linux)."""
    start = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return Timed(wall, usage.ru_utime + usage.ru_stime), usage.ru_maxrss * 1024
