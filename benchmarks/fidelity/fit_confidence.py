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
from shardproof.formulations.costs.serving.confidence import ANY, FILE

LEAST_LAYOUTS, LEAST_MODELS = 10, 15
LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)


def conformal(values: np.ndarray, level: float, clusters: int) -> float:
    """Return the conformal quantile where rows of one cluster (layout, model) stand or fall together.

    With L clusters the level is raised to level (L + 1) / L, as if every cluster were one residual.
    """
    ordered = np.sort(values)
    raised = min(1.0, level * (clusters + 1) / clusters)
    return float(ordered[min(len(ordered), ceil((len(ordered) + 1) * raised)) - 1])


def residual_quantiles(residual: np.ndarray, clusters: int) -> dict[str, Any]:
    """Quantiles of log(measured / predicted)."""
    return {
        "count": len(residual),
        "clusters": clusters,
        "absolute": [round(conformal(np.abs(residual), level, clusters), 4) for level in LEVELS],
        "upper": [round(conformal(residual, level, clusters), 4) for level in LEVELS],
    }


def by_group(rows: Arrays, residual: np.ndarray, clusters: np.ndarray, least: int) -> dict[str, dict[str, Any]]:
    """Quantiles by engine and device, by engine, and of all; groups of fewer than ``least`` clusters are left out."""
    engines, devices = rows.keys(("engine",)), rows.keys(("device",))
    masks = {f"{ANY}|{ANY}": np.ones(len(residual), dtype=bool)}
    for engine in sorted(set(engines)):
        masks[f"{engine}|{ANY}"] = engines == engine
        for device in sorted(set(devices[engines == engine])):
            masks[f"{engine}|{device}"] = (engines == engine) & (devices == device)
    found = {}
    for group, mask in masks.items():
        count = len(set(clusters[mask]))
        if count >= least or group == f"{ANY}|{ANY}":
            found[group] = residual_quantiles(residual[mask], count)
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
    layouts = np.array(rows.layouts)
    tree = {
        "source": "serving points as in factors.json; whole layouts (known) or whole models (unseen) held out",
        "levels": LEVELS,
        "quantities": {
            "tpot": {
                "known": by_group(rows.pick(known), parallel[known], layouts[known], LEAST_LAYOUTS),
                "unseen": by_group(rows, unseen, rows.keys(("arch",)), LEAST_MODELS),
            }
        },
    }
    FILE.write_text(json.dumps(tree) + "\n")


if __name__ == "__main__":
    main()
