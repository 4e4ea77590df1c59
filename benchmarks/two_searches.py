"""CP-SAT alone beside the exact search: catalogue pairs, free of an engine's rules.

``python -m benchmarks.two_searches --every 27`` asks CP-SAT about every 27th pair (about 300) under a limit of 60
seconds each, and holds its GPUs, TTFT and peak memory against the exact search's. ``--part 0/8`` takes an eighth of
them, so that one run stays short. Answers are ``equal`` (proven, on every level), ``gap`` (a plan and a bound that
agree with the exact answer, not proven in time), ``open`` (a bound alone) or ``different`` (a fault of ours).
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from statistics import median

from benchmarks.solve.catalogue import WORKLOAD, pairs
from shardproof.instances.errors import InputError
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.result import Result
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve


def verdict(exact: Result, other: Result) -> str:
    """Compare CP-SAT's answer with the exact one."""
    for name, level in exact.levels.items():
        found = other.levels.get(name)
        if found is None:
            continue
        low, high = found.bound, found.value
        above = level.value is not None and low is not None and low > level.value
        below = level.bound is not None and high is not None and name == "gpus" and high < level.bound
        if above or below:
            return "different"
    if other.status == exact.status and other.stop_reason == "proved":
        same = all(other.levels[name].value == level.value for name, level in exact.levels.items() if level.proven)
        return "equal" if same else "different"
    return "open" if other.gpus is None else "gap"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare many pairs; 0 where none differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=27)
    parser.add_argument("--part", default="0/1", help="Which part of how many, e.g. 0/8.")
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Stop after so long.")
    chosen = parser.parse_args(arguments)
    part, parts = map(int, chosen.part.split("/"))
    counts: Counter[str] = Counter()
    times, began = list[float](), time.monotonic()
    for model, device in pairs(every=chosen.every)[part::parts]:
        if time.monotonic() - began > chosen.seconds:
            break
        try:
            instance = resolve_tree({"model": model, "device": device, **WORKLOAD}, where=f"{model} on {device}")
        except InputError:
            continue
        plain = Settings(certify=False, explain=False, workers=1)
        exact, started = solve(instance, settings=plain), time.process_time()
        asked = Settings(certify=False, explain=False, workers=1, search="cp-sat", time_limit_s=chosen.time_limit)
        other = solve(instance, settings=asked)
        times.append(time.process_time() - started)
        said = verdict(exact, other)
        counts[said] += 1
        bound = "" if said == "equal" else f" (CP-SAT {other.gpus} >= {other.bound})"
        sys.stdout.write(f"{model} on {device}: {said}, {exact.gpus} GPUs{bound}, {times[-1]:.1f} s\n")
        sys.stdout.flush()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    sys.stdout.write(f"{dict(counts)}; processor seconds of CP-SAT's answers: median {median(times):.2f}, ")
    sys.stdout.write(f"most {max(times):.1f}; at most {memory:.0f} MB\n")
    return int(counts["different"] > 0)


if __name__ == "__main__":
    sys.exit(main())
