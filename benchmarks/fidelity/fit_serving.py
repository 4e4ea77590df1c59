"""Fit the serving factors: ``python -m benchmarks.fidelity.fit_serving --data DIR``.

Writes ``instances/catalog/serving/factors.json``: fitted numbers with their source, and the held-out residuals'
quantiles that `shardproof.formulations.costs.serving.confidence` reads. The measurements themselves are not shipped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fidelity.capacity import stage_weight_bytes
from benchmarks.fidelity.hierarchy import Fitted, Level, Prior, fit, predicted
from benchmarks.fidelity.rows import ServingRow, read_serving
from benchmarks.fidelity.serving_arrays import CLASSES, DECODE, PREFILL, TERM_CLASSES, Arrays, arrays
from shardproof.formulations.costs.serving.factors import FILE, NOT_ASKED

SCALE = 0.1
ROUGH_SCALE = 0.5
ROUGH_HARNESSES = ("gpustack_lab",)
FOLDS = 6
SLOWEST_CHUNKED_MS = 1.0
BELOW_DATASHEET = 0.95
MOST_FILLED = 1.0
GENERAL_LEVELS = (
    Level(("family",), "term", (0.05, 0.2, 0.2, 0.3, 0.2)),
    Level(("engine",), "term", (0.1, 0.2, 0.3, 0.6, 0.2)),
    Level(("engine", "family"), "class", (0.1, 0.1, 0.2, 0.2, 0.2)),
    Level(("precision",), "class", (0.05, 0.1, 0.05, 0.1, 0.1)),
)
"""Few deviations: each one more fits the models that were measured and misses others by more."""
LEVELS = (
    Level(("family",), "term", (0.05, 0.2, 0.15, 0.15, 0.15)),
    Level(("engine",), "term", (0.05, 0.2, 0.3, 0.6, 0.15)),
    Level(("precision",), "term", (0.3, 0.2, 0.05, 0.2, 0.15)),
    Level(("device", "engine"), "class", (0.03, 0.08, 0.2, 0.2, 0.15)),
    Level(("arch",), "class", (0.014, 0.07, 0.035, 0.035, 0.035)),
    Level(("arch", "engine"), "class", (0.021, 0.14, 0.14, 0.07, 0.07)),
    Level(("engine", "wide"), "class", (0.05, 0.15, 0.2, 0.15, 0.1)),
    Level(("arch", "engine", "wide"), "class", (0.021, 0.07, 0.1, 0.07, 0.07)),
    Level(("arch", "engine", "precision"), "all", (0.084,)),
    Level(("arch", "device", "engine"), "all", (0.1,)),
    Level(("arch", "device", "engine", "precision"), "class", (0.035, 0.14, 0.14, 0.14, 0.14)),
    Level(("harness",), "class", (0.03, 0.1, 0.1, 0.05, 0.15)),
    Level(("engine", "release"), "class", (0.05, 0.15, 0.15, 0.15, 0.1)),
    Level(("arch", "engine", "release"), "all", (0.07,)),
)
USUAL = (
    ("arch", "device", "engine", "precision"),
    ("arch", "device", "engine"),
    ("arch", "engine"),
    ("device", "engine"),
    ("engine",),
)
"""Where the usual harness and release of a setting are looked up, nearest first."""
_MEANS = {
    "matrices": (1.1, 0.15),
    "expert_matrices": (1.2, 0.3),
    "scores": (1.1, 0.25),
    "recurrence": (1.0, 0.3),
    "norms": (1.0, 0.5),
    "reductions": (1.0, 0.4),
    "exchanges": (1.0, 0.4),
    "weights": (0.05, 1.0),
    "experts": (0.05, 1.0),
    "kv": (0.05, 1.0),
    "elementwise": (0.1, 1.0),
    "expert_skew": (0.05, 1.0),
    "moe_layers": (10.0, 0.6),
    "hops": (0.5, 1.0),
    "collectives": (3.0, 0.6),
    "dp_collectives": (6.0, 0.6),
    "layers": (8.0, 0.6),
    "linear_layers": (3.0, 1.0),
    "sparse_layers": (3.0, 1.0),
    "latent_layers": (3.0, 1.0),
    "quantised_layers": (3.0, 1.0),
    "step": (0.5, 0.6),
    "sequences": (3.0, 0.6),
    "tokens": (0.2, 0.7),
}
"""Prior of each factor: typical value and width of its logarithm (kernels are known well, overheads less)."""
_PREFILL_MEANS = {
    "matrices": (0.9, 0.3),
    "expert_matrices": (0.9, 0.4),
    "scores": (0.9, 0.3),
    "recurrence": (1.0, 0.5),
    "norms": (1.0, 0.5),
    "reductions": (1.0, 0.4),
    "exchanges": (1.0, 0.5),
    "step": (0.3, 0.7),
    "moe_layers": (10.0, 0.7),
    "tokens": (0.2, 0.7),
}
"""The same for the prefill beside a decode, part of which the decode hides."""


def prior() -> Prior:
    """Prior of the shared factors."""
    found = [_MEANS[name] for name in DECODE] + [_PREFILL_MEANS[name] for name in PREFILL]
    return Prior(np.log([mean for mean, _ in found]), np.array([width for _, width in found]))


def fitted_rows(rows: Sequence[ServingRow]) -> list[ServingRow]:
    """Rows whose layout can be: their concurrency is a level, and the weights fit into the memory."""
    return [
        row
        for row in rows
        if row.level
        and stage_weight_bytes(row.model, row.option, row.stages) <= MOST_FILLED * float(row.device.usable_memory)
    ]


def trusted(rows: Arrays) -> np.ndarray:
    """Rows that are fitted.

    A token every millisecond at most means that tokens came in chunks; one sooner than the datasheet allows, that
    the row is not what it says.
    """
    slow = rows.target > np.log(SLOWEST_CHUNKED_MS)
    found: np.ndarray = slow & (np.exp(rows.target) > BELOW_DATASHEET * rows.floors[:, 0])
    return found


@dataclass(frozen=True)
class Usual:
    """What deviations by harness and release come to on average, per term, by the value of some columns."""

    columns: tuple[str, ...]
    values: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pair:
    """A fit that knows architectures apart, one that does not, and the pairs of architecture and engine behind them."""

    known: Fitted
    general: Fitted
    usual: tuple[Usual, ...]
    pairs: frozenset[str]

    def predict(self, rows: Arrays, *, told: bool = False) -> np.ndarray:
        """Log of the predicted TPOT: by the first fit where model and engine are known, else by the second.

        ``told``: harness and release of each row are used; else what is usual, as for somebody who plans.
        """
        familiar = np.isin(rows.keys(("arch", "engine")), sorted(self.pairs))
        known = self.known.predict(rows) if told else predicted(self._asked(rows), rows)
        return np.where(familiar, known, self.general.predict(rows))

    def _asked(self, rows: Arrays) -> np.ndarray:
        logs = split_levels(self.known)[0].logs(rows)
        open_rows = np.ones(len(logs), dtype=bool)
        for usual in self.usual:
            for place, key in enumerate(rows.keys(usual.columns)):
                if open_rows[place] and key in usual.values:
                    logs[place] += usual.values[key]
                    open_rows[place] = False
        return logs


def split_levels(fitted: Fitted) -> tuple[Fitted, Fitted]:
    """Split a fit into what a planner can state, and the deviations by harness and release alone."""
    asked, told = list[tuple[Any, Any]](), list[tuple[Any, Any]]()
    for level, values in zip(fitted.levels, fitted.deviations, strict=True):
        (told if set(NOT_ASKED) & set(level.columns) else asked).append((level, values))
    parts = (
        Fitted(tuple(level for level, _ in part), base, tuple(values for _, values in part))
        for part, base in ((asked, fitted.base), (told, np.zeros_like(fitted.base)))
    )
    first, second = parts
    return first, second


def usual_of(fitted: Fitted, rows: Arrays) -> tuple[Usual, ...]:
    """Average the deviations by harness and release over the rows of each setting."""
    told = split_levels(fitted)[1].logs(rows)
    found = []
    for columns in USUAL:
        keys = rows.keys(columns)
        found.append(Usual(columns, {key: told[keys == key].mean(axis=0) for key in sorted(set(keys))}))
    return tuple(found)


def fit_rows(rows: Arrays) -> Pair:
    """Fit both hierarchies with the shipped settings."""
    chosen = rows.pick(trusted(rows))
    scale = scales(chosen, SCALE)
    known = fit(chosen, LEVELS, prior(), scale=scale)
    return Pair(
        known=known,
        general=fit(chosen, GENERAL_LEVELS, prior(), scale=scale),
        usual=usual_of(known, chosen),
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


def held_out(rows: Arrays, keys: np.ndarray, count: int = FOLDS, *, told: bool = False) -> np.ndarray:
    """Log residuals (predicted over measured) where the whole group was held out of the fit."""
    residual = np.zeros(len(rows.target))
    assigned = folds(keys, count)
    for fold in range(count):
        inside = assigned == fold
        fitted = fit_rows(rows.pick(~inside))
        test = rows.pick(inside)
        residual[inside] = fitted.predict(test, told=told) - test.target
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
            "values": {key: _rounded(value) for key, value in sorted(found.items())},
        }
        for level, found in zip(fitted.levels, fitted.deviations, strict=True)
    ]
    return {"base": _rounded(fitted.base), "groups": groups}


def written_usual(usual: Usual) -> dict[str, Any]:
    """Lay usual deviations out, one number a class of terms (they differ by class only)."""
    first = [TERM_CLASSES.index(kind) for kind in range(len(CLASSES))]
    values = {key: _rounded(value[first]) for key, value in usual.values.items()}
    return {"columns": list(usual.columns), "basis": "class", "values": values}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(one), 4) for one in values]


def document(fitted: Pair, extra: dict[str, Any]) -> dict[str, Any]:
    """Lay the fitted numbers out as the catalogue file."""
    return {
        "decode": list(DECODE),
        "prefill": list(PREFILL),
        "classes": list(TERM_CLASSES),
        "known": written(fitted.known) | {"usual": [written_usual(usual) for usual in fitted.usual]},
        "general": written(fitted.general),
        **extra,
    }


def main() -> None:
    """Fit on a folder and write the catalogue file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    rows = arrays(fitted_rows(list(read_serving(folder))))
    rows = rows.pick(trusted(rows))
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
