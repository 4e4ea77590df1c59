"""Time limits are kept: hard questions under limits of seconds, by how much each answer is late.

``python -m benchmarks.limits`` (about 2 minutes on one core) asks each question under each limit and search, and prints
seconds, seconds beyond the limit, status, GPUs and bound. Times are those of the answer, without start and printing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import shardproof
from shardproof.solver.search.settings import Search

QUESTIONS: dict[str, dict[str, Any]] = {
    "two limits": {"model": "deepseek-r1", "device": "l40s", "isl": 8192, "osl": 1024, "batch_size": 500}
    | {"ttft": "200s", "tpot": "150ms", "max_gpus": 64},
    "mixed fleet": {"model": "llama-3.1-70b-fp8", "device": "l40s", "isl": 1024, "osl": 512, "batch_size": 154}
    | {"ttft": "6s", "efficiency": "flat"},
    "closed loop": {"model": "qwen3-235b-a22b-fp8", "device": "a100-80-sxm", "isl": 4096, "osl": 1024}
    | {"concurrency": 512, "ttft": "30s", "tpot": "60ms"},
    "many GPUs": {"model": "glm-5", "device": "l20", "isl": 2048, "osl": 2048, "batch_size": 128, "ttft": "30s"},
}


def late(limits: Sequence[float], searches: Sequence[Search], engine: str) -> Iterator[float]:
    """Ask every question and print a line for each answer; yield by how many seconds it is late."""
    for name, asked in QUESTIONS.items():
        instance = shardproof.load_instance(**asked, engine=engine)
        for search in searches:
            for limit in limits:
                started = time.monotonic()
                found = shardproof.solve(instance, time_limit=limit, search=search)
                seconds = time.monotonic() - started
                gpus = f"{found.gpus} >= {found.bound}"
                said = f"{found.status}, {gpus}, {found.proof}"
                line = f"{name:12} {search:7} limit {limit:4g} s: {seconds:6.2f} s, {said}"
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
                yield max(0.0, seconds - limit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask every question; 0 where no answer is late by more than 2 % and half a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limits", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--searches", nargs="+", choices=get_args(Search), default=["auto", "cp-sat", "both"])
    parser.add_argument("--engine", default="any")
    chosen = parser.parse_args(arguments)
    worst = max(late(chosen.limits, chosen.searches, chosen.engine))
    sys.stdout.write(f"the latest answer is {worst:.2f} s late\n")
    return int(worst > 0.5 + 0.02 * max(chosen.limits))


if __name__ == "__main__":
    sys.exit(main())
