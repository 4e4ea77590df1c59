"""Fit the wait for the first token: ``python -m benchmarks.fidelity.fit_wait --data DIR`` (after fit_serving)."""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.fidelity.rows import ServingRow, read_serving
from shardproof.formulations.costs.serving.closed_loop import StepClock, busy_share
from shardproof.formulations.costs.serving.factors import FILE

OWN = tuple(float(value) for value in np.geomspace(0.5, 8, 25))
QUEUE = tuple(float(value) for value in np.geomspace(0.02, 20, 31))


def parts(row: ServingRow) -> tuple[float, float, float]:
    """Return (own prefill and half an iteration, queue before it, measured TTFT), ms."""
    clock = StepClock(row.model, row.device, row.engine, row.harness, row.release)
    served = clock.serve(
        row.option,
        concurrency=row.concurrency,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        stages=row.stages,
    )
    busy = busy_share(served.prefill, served.tpot, served.sequences, row.output_tokens)
    own = served.prefill + served.tpot / 2
    return 1e3 * own, 1e3 * served.prefill * busy / (1 - busy), row.ttft_ms or 0.0


def best_pair(rows: np.ndarray) -> tuple[float, float]:
    """Grid point with the least median absolute error of the logarithm."""

    def loss(pair: tuple[float, float]) -> float:
        return float(np.median(np.abs(np.log((pair[0] * rows[:, 0] + pair[1] * rows[:, 1]) / rows[:, 2]))))

    return min(product(OWN, QUEUE), key=loss)


def main() -> None:
    """Fit on a folder and write into the catalogue file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    rows = [row for row in read_serving(parser.parse_args().data) if row.mode == "agg" and row.ttft_ms]
    wait = {}
    for engine in sorted({row.engine for row in rows}):
        own = np.array([parts(row) for row in rows if row.engine == engine])
        wait[engine] = [round(value, 3) for value in best_pair(own)]
    tree = json.loads(FILE.read_text())
    tree["wait"] = wait
    FILE.write_text(json.dumps(tree) + "\n")


if __name__ == "__main__":
    main()
