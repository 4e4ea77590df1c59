"""Expert placement against the greedy of EPLB's class: largest over mean rank load, bound and gap.

Run ``python -m benchmarks.placement`` for a sample, ``--full`` for all layers and shapes (60 s each at
most). The Markdown table goes to standard output; ``--json FILE`` keeps the figures.

"placed" and "greedy" are means over the layers of largest over mean rank load; a gap is the excess over the
bound. "first" is the time until every layer has an answer no worse than the greedy's; "cpu s" is
processor time, which a busy machine does not distort.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from shardproof.formulations.placement.problem import PlacementRules
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.load_profile.read import load_profile
from shardproof.solver.placement.place import place
from shardproof.solver.placement.result import PlacementResult
from shardproof.solver.placement.work import PlaceSettings

PROFILES = ("zipf:0.3", "zipf:0.6", "zipf:0.9", "zipf:1.2", "lognormal:1.0")
QWEN3 = [(128, 94, ranks, redundant) for ranks in (8, 16, 32) for redundant in (0, 16, 32)]
DEEPSEEK = [(256, 58, 32, 0), (256, 58, 32, 32), (256, 58, 64, 64), (256, 58, 72, 32), (256, 58, 96, 32),
            (256, 58, 128, 0), (256, 58, 128, 128), (256, 58, 144, 32)]  # fmt: skip
SAMPLE = [(128, 6, 8, 0), (128, 6, 16, 16), (128, 6, 32, 32), (256, 4, 144, 32)]


@dataclass(frozen=True)
class Row:
    """One shape under one profile."""

    profile: str
    experts: int
    layers: int
    ranks: int
    redundant: int
    uneven: bool
    greedy: float
    placed: float
    bound: float
    greedy_median_gap: float
    median_gap: float
    p95_gap: float
    optimal: int
    worse_than_greedy: int
    first_s: float
    seconds: float
    cpu_s: float
    load_average: float


def measure(source: str, shape: tuple[int, int, int, int], *, seconds: float, workers: int) -> Row:
    """Place one synthetic model and compare it with the greedy."""
    experts, layers, ranks, redundant = shape
    loads = load_profile(source, layers=layers, experts=experts, seed=1)
    rules = PlacementRules(ranks=ranks, redundant=redundant, uneven=bool((experts + redundant) % ranks))
    before = time.monotonic()
    place([loads], rules, PlaceSettings(time_limit=0))
    first = time.monotonic() - before
    spent = _cpu_seconds()
    result = place([loads], rules, PlaceSettings(time_limit=seconds, workers=workers))
    return summarise(loads, rules, result, first=first, cpu=_cpu_seconds() - spent)


def _cpu_seconds() -> float:
    """Processor time of this process and its finished children: what a busy machine does not distort."""
    return sum(os.times()[:4])


def summarise(loads: LoadProfile, rules: PlacementRules, result: PlacementResult, *, first: float, cpu: float) -> Row:
    """Turn a result into a row."""
    layers, summary = result.layers, result.summary()
    greedy_gaps = sorted(float(found.greedy_load / found.bound.value - 1) for found in layers)
    return Row(
        profile=loads.name,
        experts=loads.experts,
        layers=loads.layers,
        ranks=rules.ranks,
        redundant=rules.redundant,
        uneven=rules.uneven,
        greedy=summary["greedy_imbalance"],
        placed=summary["mean_imbalance"],
        bound=sum(float(found.bound.value / found.problem.mean) for found in layers) / len(layers),
        greedy_median_gap=greedy_gaps[len(greedy_gaps) // 2],
        median_gap=summary["median_gap"],
        p95_gap=summary["p95_gap"],
        optimal=int(summary["optimal"]),
        worse_than_greedy=sum(found.max_load > found.greedy_load for found in layers),
        first_s=first,
        seconds=result.seconds,
        cpu_s=cpu,
        load_average=os.getloadavg()[0],
    )


def as_line(row: Row) -> str:
    """Return a row of the Markdown table."""
    shape = f"{row.experts} x {row.layers} | {row.ranks} | {row.redundant}{' (uneven)' if row.uneven else ''}"
    ratios = f"{row.greedy:.4f} | {row.placed:.4f} | {row.bound:.4f}"
    gaps = f"{row.greedy_median_gap:.3%} | {row.median_gap:.3%} | {row.p95_gap:.3%}"
    times = f"{row.first_s:.2f} | {row.seconds:.1f} | {row.cpu_s:.1f}"
    return f"| {row.profile} | {shape} | {ratios} | {gaps} | {row.optimal} | {times} |"


HEADING = (
    "| profile | experts x layers | ranks | redundant | greedy | placed | bound | greedy gap | median gap "
    "| 95 % gap | optimal | first s | s | cpu s |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Measure, print, and fail if any layer is worse than the greedy's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all shapes and layers")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of one placement")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    print(HEADING, flush=True)
    rows = []
    for shape in QWEN3 + DEEPSEEK if words.full else SAMPLE:
        for source in PROFILES:
            row = measure(source, shape, seconds=words.seconds, workers=words.workers)
            rows.append(row)
            print(as_line(row), flush=True)
            if words.json:
                words.json.write_text(json.dumps([asdict(found) for found in rows], indent=1) + "\n")
    print(f"\nload average of the machine while measuring: {max(row.load_average for row in rows):.1f} at most")
    return int(any(row.worse_than_greedy for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
