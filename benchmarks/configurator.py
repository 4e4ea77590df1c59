"""Mixes of a configurator's own candidates beside the single one that it recommends.

``aiconfigurator cli default --target-request-rate R --top-n 50 --save-dir FOLDER ...`` (NVIDIA, Apache-2.0; a wheel
with its measurements is in the package registry, `python -m venv` it apart) writes tables of candidates: GPUs and
requests a second of each replica. It recommends so many alike replicas. ``python -m benchmarks.configurator FOLDER``
reads all tables below a folder as ``capacities:``, and holds the exact mix of their candidates against the best single
one at rates of up to ten of its largest replicas.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import shardproof

TABLE = "best_config_topn.csv"
MOST_GPUS = 256


def candidates(path: Path) -> list[tuple[int, Fraction]]:
    """Return GPUs and requests a second of every replica of a table, without those that another one beats."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(int(float(row["num_total_gpus"])), Fraction(row.get("seq/s") or row["request_rate"])) for row in rows}
    return sorted((g, r) for g, r in found if not any(h <= g and s >= r and (h, s) != (g, r) for h, s in found))


def alike(table: list[tuple[int, Fraction]], rate: Fraction) -> int:
    """Return the fewest GPUs of replicas that are all alike."""
    return min(gpus * ceil(rate / each) for gpus, each in table)


def mixed(table: list[tuple[int, Fraction]], rate: Fraction) -> int:
    """Return the fewest GPUs of any replicas, proven."""
    question: dict[str, Any] = {
        "devices": "any",
        "requests": {"requests": f"{float(rate)}/s"},
        "limits": {"max_gpus": MOST_GPUS},
        "capacities": [
            {"device": "any", "gpus": gpus, "rates": {"requests": f"{float(each)}/s"}} for gpus, each in table
        ],
    }
    found = shardproof.solve(question)
    assert isinstance(found, shardproof.SolvedFleet)
    assert found.status == "optimal"
    assert found.gpus is not None
    return found.gpus


def cases(folder: Path, steps: int) -> Iterator[tuple[Path, Fraction, int, int]]:
    """Yield every table with rates up to ten of its largest replicas, and the GPUs of both answers."""
    for path in sorted(folder.rglob(TABLE)):
        table = candidates(path)
        largest = max(rate for _, rate in table)
        for step in range(1, steps + 1):
            rate = (largest * Fraction(10 * step, steps)).limit_denominator(1000)
            if alike(table, rate) <= MOST_GPUS:
                yield path, rate, alike(table, rate), mixed(table, rate)


def main() -> int:
    """Print how often a mix is smaller, and by how much at most; fail where one is larger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=30)
    asked = parser.parse_args()
    found = list(cases(asked.folder, asked.steps))
    smaller = [(one, best) for _, _, one, best in found if best < one]
    most = max((1 - best / one for one, best in smaller), default=0.0)
    sys.stdout.write(f"{len(found)} cases, {len(smaller)} with a smaller mix, by {most:.1%} at most\n")
    return int(any(best > one for _, _, one, best in found))


if __name__ == "__main__":
    sys.exit(main())
