"""Quantiles of held-out residuals: ``python -m benchmarks.fidelity.fit_confidence --data DIR``.

Refits the serving factors with whole layouts, then whole models, held out, and writes what is left over by
engine and device to ``instances/catalog/serving/confidence.json``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fidelity import fit_serving
from benchmarks.fidelity.rows import read_serving
from benchmarks.fidelity.serving_arrays import Arrays, arrays
from shardproof.formulations.costs.serving.confidence import ANY, FILE

LEAST_ROWS = 12
SHRINK_ROWS = 10.0
CLUSTER_SHARE = 0.5
FOLDS = 10
LAYOUT_FOLDS = 30
"""Parts of the layouts: few are held out at once, since a planner asks for one layout beside all that were measured."""
LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)


@dataclass(frozen=True)
class Held:
    """Log(measured / predicted) of rows whose group was held out of the fit, and their columns."""

    residual: np.ndarray
    engines: np.ndarray
    devices: np.ndarray
    clusters: np.ndarray

    def pick(self, chosen: np.ndarray) -> Held:
        """Rows where ``chosen``."""
        return Held(self.residual[chosen], self.engines[chosen], self.devices[chosen], self.clusters[chosen])


def conformal(values: np.ndarray, level: float, clusters: int | None = None) -> float:
    """Return the conformal quantile: the ceil((n + 1) level)-th smallest of n values.

    Rows of one of L ``clusters`` (layout, model, device) stand or fall together, so the level is raised to
    level (L + 1/2) / L. As if every cluster were one residual (L + 1) the quantiles of random halves of the layouts
    hold 99 % of the other half at 95 %, as if none were (L) 92 to 93 %.
    """
    ordered = np.sort(values)
    raised = level if clusters is None else min(1.0, level * (clusters + CLUSTER_SHARE) / clusters)
    return float(ordered[min(len(ordered), ceil((len(ordered) + 1) * raised)) - 1])


def residual_quantiles(residual: np.ndarray, clusters: int, *, scale: float = 1.0) -> dict[str, Any]:
    """Quantiles of log(measured / predicted) in ``clusters``, each times ``scale``."""
    return {
        "count": len(residual),
        "clusters": clusters,
        "absolute": [round(scale * conformal(np.abs(residual), level, clusters), 4) for level in LEVELS],
        "upper": [round(max(0.0, scale * conformal(residual, level, clusters)), 4) for level in LEVELS],
    }


def widths(held: Held) -> dict[str, float]:
    """Return how wide residuals are on each device of one engine, beside the engine's own; few rows shrink to it."""
    typical = float(np.median(np.abs(held.residual)))
    found = {}
    for device in sorted(set(held.devices)):
        own = np.abs(held.residual[held.devices == device])
        share = len(own) / (len(own) + SHRINK_ROWS)
        found[device] = float(np.exp(share * np.log(max(np.median(own), 1e-3) / typical)))
    return found


def by_group(held: Held, elsewhere: Held) -> dict[str, dict[str, Any]]:
    """Quantiles by engine and device, and by engine and of all for what was never measured.

    Within an engine every device has the engine's quantiles, times how wide its own residuals are: so a level
    holds over the engine's rows, and no device stands on the few that it has. ``elsewhere``: residuals of devices
    (for ``any|any`` of engines) that were held out whole.
    """
    found = {f"{ANY}|{ANY}": residual_quantiles(elsewhere.residual, len(set(elsewhere.clusters)))}
    for engine in sorted(set(held.engines)):
        own, out = held.pick(held.engines == engine), elsewhere.pick(elsewhere.engines == engine)
        if len(out.residual) >= LEAST_ROWS:
            found[f"{engine}|{ANY}"] = residual_quantiles(out.residual, len(set(out.clusters)))
        if len(own.residual) >= LEAST_ROWS:
            width, many = widths(own), len(set(own.clusters))
            standard = own.residual / np.array([width[device] for device in own.devices])
            for device, scale in width.items():
                inside = own.devices == device
                group = residual_quantiles(standard, many, scale=scale)
                own_rows = {"count": int(inside.sum()), "clusters": len(set(own.clusters[inside]))}
                found[f"{engine}|{device}"] = group | own_rows
    return widened(found)


def widened(groups: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Groups where a wider one is never narrower than those inside it; devices of few rows are left to theirs."""
    kept = {name: group for name, group in groups.items() if ANY in name or group["count"] >= LEAST_ROWS}
    for name in sorted(kept, key=lambda name: name.startswith(ANY)):
        if name.endswith(ANY):
            engine = name.split("|")[0]
            inside = [group for other, group in kept.items() if engine in (ANY, other.split("|")[0])]
            for bound in ("absolute", "upper"):
                kept[name] = kept[name] | {bound: [max(at) for at in zip(*(one[bound] for one in inside), strict=True)]}
    return kept


def held_rows(rows: Arrays, residual: np.ndarray, clusters: np.ndarray) -> Held:
    """Put residuals beside the columns that groups are made of."""
    return Held(residual, rows.keys(("engine",)), rows.keys(("device",)), clusters)


def held_out_residuals(rows: Arrays) -> dict[str, Held]:
    """Residuals with layouts (known), models (unseen) and devices (elsewhere) held out whole."""
    layouts, models, devices = np.array(rows.layouts), rows.keys(("arch",)), rows.keys(("device",))
    known = fit_serving.known_pairs(rows, layouts, LAYOUT_FOLDS)
    parallel = held_rows(rows, -fit_serving.held_out(rows, layouts, LAYOUT_FOLDS), layouts)
    return {
        "known": parallel.pick(known),
        "unseen": held_rows(rows, -fit_serving.held_out(rows, models, FOLDS), models),
        "elsewhere": held_rows(rows, -fit_serving.held_out(rows, devices, len(set(devices))), devices),
    }


def document(held: dict[str, Held]) -> dict[str, Any]:
    """Lay the quantiles out as the catalogue file has them; what was fitted elsewhere is kept."""
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    standings = {
        "known": by_group(held["known"], held["elsewhere"]),
        "unseen": by_group(held["unseen"], held["elsewhere"]),
    }
    return {
        "source": "serving points as in factors.json; layouts (known), models (unseen) and devices held out whole",
        "levels": LEVELS,
        "quantities": kept.get("quantities", {}) | {"tpot": standings},
    }


def main() -> None:
    """Fit on a folder and write the catalogue file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    rows = arrays(fit_serving.fitted_rows(list(read_serving(parser.parse_args().data))))
    found = held_out_residuals(rows.pick(fit_serving.trusted(rows)))
    FILE.write_text(json.dumps(document(found)) + "\n")


if __name__ == "__main__":
    main()
