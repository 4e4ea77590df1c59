"""Fit the serving factors: ``python -m benchmarks.fidelity.fit_serving --data DIR``.

Writes ``instances/catalog/serving/factors.json``: fitted numbers with their source, and the held-out residuals'
quantiles that `shardproof.formulations.costs.serving.confidence` reads. The measurements themselves are not shipped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fidelity.hierarchy import Fitted, Level, Prior, fit
from benchmarks.fidelity.rows import read_serving
from benchmarks.fidelity.serving_arrays import DECODE, PREFILL, TERM_CLASSES, Arrays, arrays
from shardproof.formulations.costs.serving.factors import FILE

SCALE = 0.15
GENERAL_SCALE = 0.147
ROUGH_SCALE = 0.5
ROUGH_HARNESSES = ("gpustack_lab",)
FOLDS = 6
SLOWEST_CHUNKED_MS = 1.0
LEVELS = (
    Level(("family",), "term", (0.05, 0.2, 0.15, 0.15, 0.15)),
    Level(("engine",), "term", (0.05, 0.2, 0.3, 0.6, 0.15)),
    Level(("harness",), "class", (0.03, 0.1, 0.1, 0.05, 0.15)),
    Level(("precision",), "term", (0.3, 0.2, 0.05, 0.2, 0.15)),
    Level(("device", "engine"), "class", (0.03, 0.08, 0.2, 0.2, 0.15)),
    Level(("family", "precision"), "class", (0.1, 0.5, 0.05, 0.1, 0.15)),
    Level(("engine", "precision"), "class", (0.05, 0.1, 0.05, 0.1, 0.1)),
    Level(("engine", "release"), "class", (0.05, 0.15, 0.15, 0.15, 0.1)),
    Level(("arch",), "class", (0.02, 0.1, 0.05, 0.05, 0.05)),
    Level(("arch", "engine"), "class", (0.03, 0.2, 0.2, 0.1, 0.1)),
    Level(("arch", "engine", "precision"), "all", (0.12,)),
    Level(("arch", "device", "engine"), "all", (0.15,)),
    Level(("arch", "engine", "release"), "all", (0.1,)),
)
GENERAL_LEVELS = (
    Level(("family",), "term", (0.05, 0.2, 0.15, 0.15, 0.15)),
    Level(("engine",), "term", (0.05, 0.2, 0.3, 0.96, 0.15)),
    Level(("harness",), "class", (0.03, 0.16, 0.2, 0.05, 0.15)),
    Level(("precision",), "term", (0.3, 0.2, 0.05, 0.2, 0.3)),
    Level(("device", "engine"), "class", (0.03, 0.08, 0.2, 0.2, 0.15)),
    Level(("family", "precision"), "class", (0.1, 0.5, 0.05, 0.1, 0.15)),
    Level(("engine", "precision"), "class", (0.05, 0.1, 0.05, 0.1, 0.2)),
    Level(("engine", "release"), "class", (0.05, 0.15, 0.15, 0.15, 0.1)),
    Level(("engine", "precision", "release"), "all", (0.08,)),
)
_MEANS = {
    "weights": (1.3, 0.05),
    "kv": (0.8, 0.25),
    "state": (1.0, 0.3),
    "gemm": (1.1, 0.125),
    "elementwise": (1.0, 0.5),
    "experts": (1.4, 0.25),
    "grouped": (1.5, 0.8),
    "expert_skew": (0.1, 0.6),
    "moe_layers": (25.0, 0.8),
    "message": (2.0, 0.25),
    "hops": (1.5, 0.6),
    "collectives": (6.0, 0.5),
    "dp_collectives": (6.0, 0.7),
    "layers": (15.0, 0.4),
    "linear_layers": (15.0, 0.5),
    "sparse_layers": (25.0, 0.5),
    "latent_layers": (20.0, 0.5),
    "quantised_layers": (8.0, 0.7),
    "step": (0.5, 0.7),
    "sequences": (6.0, 0.6),
    "attention": (0.8, 0.4),
    "tokens": (0.3, 0.6),
    "grouped_skew": (0.15, 0.6),
}
"""Prior of each factor: typical value and width of its logarithm (bandwidth is known well, overheads less)."""
_GENERAL_WIDTHS: dict[str, float] = {"expert_skew": 1.2, "moe_layers": 0.4, "hops": 1.2, "layers": 0.8}
"""Widths that differ in the fit that does not know models apart."""

ALIASES = {"deepseek-r1": "deepseek-v3", "deepseek-v3.2": "deepseek-v3", "glm-4.6": "glm-4.5", "kimi-k2.5": "kimi-k2"}


def prior(*, general: bool = False) -> Prior:
    """Prior of the shared factors."""
    names = (*DECODE, *PREFILL)
    mean = np.log([_MEANS[name][0] for name in names])
    widths = {name: width for name, (_, width) in _MEANS.items()} | (_GENERAL_WIDTHS if general else {})
    return Prior(mean, np.array([widths[name] for name in names]))


def trusted(rows: Arrays) -> np.ndarray:
    """Rows that are fitted: a token every millisecond at most means that tokens came in chunks."""
    found: np.ndarray = rows.target > np.log(SLOWEST_CHUNKED_MS)
    return found


@dataclass(frozen=True)
class Pair:
    """A fit that knows models apart, one that does not, and the pairs of model and engine behind the first."""

    known: Fitted
    general: Fitted
    pairs: frozenset[str]

    def predict(self, rows: Arrays) -> np.ndarray:
        """Log of the predicted TPOT: by the first fit where model and engine are known, else by the second."""
        familiar = np.isin(rows.keys(("arch", "engine")), sorted(self.pairs))
        return np.where(familiar, self.known.predict(rows), self.general.predict(rows))


def fit_rows(rows: Arrays) -> Pair:
    """Fit both hierarchies with the shipped settings."""
    chosen = rows.pick(trusted(rows))
    return Pair(
        known=fit(chosen, LEVELS, prior(), scale=scales(chosen, SCALE)),
        general=fit(chosen, GENERAL_LEVELS, prior(general=True), scale=scales(chosen, GENERAL_SCALE)),
        pairs=frozenset(chosen.keys(("arch", "engine"))),
    )


def scales(rows: Arrays, typical: float) -> np.ndarray:
    """Relative error that is typical of each row: some harnesses measure bursts of requests of all lengths."""
    rough = np.isin(rows.keys(("harness",)), ROUGH_HARNESSES)
    return np.where(rough, ROUGH_SCALE, typical)


def folds(keys: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Assign whole groups of equal keys to folds."""
    names = np.array(sorted(set(keys)))
    np.random.default_rng(seed).shuffle(names)
    place = {name: index % count for index, name in enumerate(names)}
    return np.array([place[key] for key in keys])


def held_out(rows: Arrays, keys: np.ndarray, count: int = FOLDS) -> np.ndarray:
    """Log residuals (predicted over measured) where the whole group was held out of the fit."""
    residual = np.zeros(len(rows.target))
    assigned = folds(keys, count)
    for fold in range(count):
        inside = assigned == fold
        fitted = fit_rows(rows.pick(~inside))
        test = rows.pick(inside)
        residual[inside] = fitted.predict(test) - test.target
    return residual


def known_pairs(rows: Arrays, keys: np.ndarray, count: int = FOLDS) -> np.ndarray:
    """Rows whose model and engine both stay in the fit when their group is held out."""
    assigned = folds(keys, count)
    pairs = rows.keys(("arch", "engine"))
    found = np.zeros(len(pairs), dtype=bool)
    for fold in range(count):
        inside = assigned == fold
        kept = set(pairs[~inside])
        found[inside] = [pair in kept for pair in pairs[inside]]
    return found


def written(fitted: Fitted) -> dict[str, Any]:
    """Lay one fit out as the catalogue file has it."""
    groups = [
        {
            "columns": list(level.columns),
            "basis": level.basis,
            "values": {key: [round(float(one), 4) for one in value] for key, value in sorted(found.items())},
        }
        for level, found in zip(fitted.levels, fitted.deviations, strict=True)
    ]
    return {"base": [round(float(one), 4) for one in fitted.base], "groups": groups}


def document(fitted: Pair, extra: dict[str, Any]) -> dict[str, Any]:
    """Lay the fitted numbers out as the catalogue file."""
    return {
        "decode": list(DECODE),
        "prefill": list(PREFILL),
        "classes": list(TERM_CLASSES),
        "known": written(fitted.known),
        "general": written(fitted.general),
        "aliases": ALIASES,
        **extra,
    }


def main() -> None:
    """Fit on a folder and write the catalogue file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    rows = arrays(list(read_serving(folder)))
    fitted = fit_rows(rows)
    error = np.abs(np.expm1(fitted.predict(rows) - rows.target))
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    extra = {
        "source": "closed-loop and static serving points: InferenceX, aiconfigurator, GPUStack lab, Splitwise",
        "fit": {
            "rows": str(len(rows.target)),
            "in_sample_median": f"{np.median(error):.3f}",
            "in_sample_p90": f"{np.quantile(error, 0.9):.3f}",
        },
        "wait": kept.get("wait", {}),
        "prefill_floor": kept.get("prefill_floor", {}),
    }
    FILE.write_text(json.dumps(document(fitted, extra)) + "\n")


if __name__ == "__main__":
    main()
