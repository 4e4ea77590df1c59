"""Quantiles of held-out residuals: ``python -m benchmarks.fidelity.fit_confidence --data DIR``.

Refits the serving factors with whole layouts, then whole models, held out, and writes what is left over by
engine and device to ``instances/catalog/serving/confidence.json``.
"""

from __future__ import annotations

import argparse
import json
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fidelity import fit_serving
from benchmarks.fidelity.rows import read_serving
from benchmarks.fidelity.serving_arrays import Arrays, arrays
from solver.confidence import ANY, ENOUGH, FILE

LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)


def conformal(values: np.ndarray, level: float) -> float:
    """Return the ceil((n + 1) level)-th smallest value (the largest where that is past the end)."""
    ordered = np.sort(values)
    return float(ordered[min(len(ordered), ceil((len(ordered) + 1) * level)) - 1])


def residual_quantiles(residual: np.ndarray) -> dict[str, Any]:
    """Quantiles of log(measured / predicted)."""
    return {
        "count": len(residual),
        "absolute": [round(conformal(np.abs(residual), level), 4) for level in LEVELS],
        "upper": [round(conformal(residual, level), 4) for level in LEVELS],
    }


def by_group(rows: Arrays, residual: np.ndarray) -> dict[str, dict[str, Any]]:
    """Quantiles by engine and device, by engine, and of all."""
    engines, devices = rows.keys(("engine",)), rows.keys(("device",))
    found = {f"{ANY}|{ANY}": residual_quantiles(residual)}
    for engine in sorted(set(engines)):
        own = engines == engine
        if own.sum() >= ENOUGH:
            found[f"{engine}|{ANY}"] = residual_quantiles(residual[own])
        for device in sorted(set(devices[own])):
            both = own & (devices == device)
            if both.sum() >= ENOUGH:
                found[f"{engine}|{device}"] = residual_quantiles(residual[both])
    return found


def held_out_residuals(rows: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log(measured / predicted) with layouts held out, the rows that stay known then, and with models held out."""
    layouts = np.array(rows.layouts)
    parallel = -fit_serving.held_out(rows, layouts)
    known = fit_serving.known_pairs(rows, layouts)
    unseen = -fit_serving.held_out(rows, rows.keys(("arch",)))
    return parallel, known, unseen


def main() -> None:
    """Fit on a folder and write the catalogue file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    rows = arrays(list(read_serving(folder)))
    parallel, known, unseen = held_out_residuals(rows)
    tree = {
        "source": "serving points as in factors.json; whole layouts (known) or whole models (unseen) held out",
        "levels": LEVELS,
        "quantities": {
            "tpot": {
                "known": by_group(rows.pick(known), parallel[known]),
                "unseen": by_group(rows, unseen),
            }
        },
    }
    FILE.write_text(json.dumps(tree) + "\n")


if __name__ == "__main__":
    main()
