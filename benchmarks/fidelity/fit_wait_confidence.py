"""Quantiles of held-out TTFT residuals: ``python -m benchmarks.fidelity.fit_wait_confidence --data DIR``.

Refits the waits with whole layouts (known), whole models (unseen) and whole devices held out, and writes what is left
over to ``instances/catalog/serving/first_token_confidence.json``: by engine and device, the engine's quantiles times
how wide the device's own residuals are; for devices that were not measured under an engine, those of devices held out
whole.
Requests that wait for room are a quantity of their own: what they see hangs on the memory account, not on the waits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fidelity.first_token import FirstToken, read_first_tokens
from benchmarks.fidelity.fit_confidence import conformal
from benchmarks.fidelity.fit_wait import Rows, arrays, held_out
from shardproof.formulations.costs.serving.confidence import ANY, FIRST_TOKEN_FILE

LEVELS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
FOLDS = 10
LAYOUT_FOLDS = 40
"""Parts of the layouts: few are held out at once, since a planner asks for one layout beside all that were measured."""
LEAST_ROWS = 12
SHRINK_ROWS = 10.0
Groups = dict[str, dict[str, Any]]


def quantiles(residual: np.ndarray, clusters: int, *, count: int | None = None, scale: float = 1.0) -> dict[str, Any]:
    """Quantiles of log(measured / predicted), each times ``scale``, at `LEVELS`."""
    return {
        "count": len(residual) if count is None else count,
        "clusters": clusters,
        "absolute": [round(scale * conformal(np.abs(residual), level, clusters), 4) for level in LEVELS],
        "upper": [round(max(0.0, scale * conformal(residual, level, clusters)), 4) for level in LEVELS],
    }


def widths(residual: np.ndarray, devices: np.ndarray) -> dict[str, float]:
    """How wide residuals are on each device of one engine, beside the engine's own; few rows shrink to it."""
    typical, found = float(np.median(np.abs(residual))), {}
    for device in sorted(set(devices)):
        own = np.abs(residual[devices == device])
        share = len(own) / (len(own) + SHRINK_ROWS)
        found[device] = float(np.exp(share * np.log(max(np.median(own), 1e-3) / typical)))
    return found


def by_group(held: Mapping[str, np.ndarray], elsewhere: Mapping[str, np.ndarray]) -> Groups:
    """Quantiles by engine and device; by engine and of all for what was never measured.

    Both mappings hold arrays ``residual``, ``engine``, ``device`` and ``cluster``, row by row.
    """
    found = {f"{ANY}|{ANY}": quantiles(elsewhere["residual"], len(set(elsewhere["cluster"])))}
    for engine in sorted(set(held["engine"])):
        out = elsewhere["engine"] == engine
        if out.sum() >= LEAST_ROWS:
            found[f"{engine}|{ANY}"] = quantiles(elsewhere["residual"][out], len(set(elsewhere["cluster"][out])))
        own = held["engine"] == engine
        if own.sum() < LEAST_ROWS:
            continue
        residual, devices, clusters = (held[name][own] for name in ("residual", "device", "cluster"))
        width = widths(residual, devices)
        standard = residual / np.array([width[device] for device in devices])
        for device, scale in width.items():
            inside = devices == device
            many = len(set(clusters))
            found[f"{engine}|{device}"] = quantiles(standard, many, count=int(inside.sum()), scale=scale)
    return found


def held_columns(rows: Rows, predicted: np.ndarray, clusters: np.ndarray, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Residuals, and the columns that groups are made of; ``predicted``: log(predicted / measured)."""
    columns = {
        "residual": -predicted,
        "engine": rows.keys(("engine",)),
        "device": rows.keys(("device",)),
        "cluster": clusters,
    }
    return {name: values[chosen] for name, values in columns.items()}


def document(rows: Rows) -> dict[str, dict[str, Groups]]:
    """Quantities ``ttft`` (all requests find room) and ``ttft_waiting``, known and unseen."""
    layouts = np.array([row.layout for row in rows.rows])
    models, devices = rows.keys(("arch",)), rows.keys(("device",))
    room = np.array([row.admitted for row in rows.rows])
    elsewhere = held_columns(rows, held_out(rows, list(devices), len(set(devices))), devices, room)
    known = held_columns(rows, held_out(rows, list(layouts), LAYOUT_FOLDS), layouts, room)
    unseen = held_columns(rows, held_out(rows, list(models), FOLDS), models, room)
    waiting = np.array([np.log(row.predicted_ms) for row in rows.rows]) - rows.target
    crowd = {f"{ANY}|{ANY}": quantiles(-waiting[~room], len(set(layouts[~room])))}
    return {
        "ttft": {"known": by_group(known, elsewhere), "unseen": by_group(unseen, elsewhere)},
        "ttft_waiting": {"known": crowd, "unseen": crowd},
    }


def written(rows: list[FirstToken]) -> None:
    """Write the catalogue file."""
    tree = {
        "source": "rows as in first_token.json; layouts (known), models (unseen) and devices held out whole",
        "levels": LEVELS,
        "quantities": document(arrays(rows)),
    }
    FIRST_TOKEN_FILE.write_text(json.dumps(tree) + "\n")


def main() -> None:
    """Fit on a folder and write the catalogue file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    written(list(read_first_tokens(parser.parse_args().data)))


if __name__ == "__main__":
    main()
