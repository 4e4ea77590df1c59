r"""Fit the waits of a first token: ``python -m benchmarks.fidelity.fit_wait --data DIR`` (after fit_serving).

Minimises the absolute error of the logarithm (smooth near zero), with normal priors on the shared factors and on
every group's deviations from them; a group that was never seen has none. Requests that wait for room, and rows whose
own remarks call their TTFT a queue, are left out: the first follow from the balance of flow, the second from nothing
that an instance says.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from benchmarks.fidelity.first_token import FirstToken, read_first_tokens
from shardproof.formulations.costs.serving.first_token import CHUNK_TOKENS, CLASSES, FILE, TERMS

SHARED = {
    "prefill": (0.5, 1.5),
    "iteration": (2.0, 1.5),
    "chunks": (0.3, 1.5),
    "host": (5.0, 1.5),
    "queue": (0.06, 1.0),
}
"""Prior of each shared factor: typical value and width of its logarithm."""
LEVELS: tuple[tuple[tuple[str, ...], str, float], ...] = (
    (("engine",), "term", 0.7),
    (("arch", "engine"), "class", 0.5),
    (("device", "engine"), "class", 0.3),
    (("arch", "engine", "device"), "class", 0.4),
    (("arch", "engine", "device", "precision"), "class", 0.3),
    (("engine", "wide"), "class", 0.3),
    (("arch", "engine", "device", "wide"), "class", 0.3),
)
SMOOTH, SCALE = 0.05, 0.15
OVER = 1.5
"""How much more a prediction that is too long weighs than one that is too short."""
FOLDS = 20


@dataclass(frozen=True)
class Rows:
    """Rows as arrays: milliseconds by term beside the prompt's own prefill, and the measured logarithm."""

    rows: tuple[FirstToken, ...]
    own: np.ndarray
    features: np.ndarray
    target: np.ndarray

    @property
    def fitted(self) -> np.ndarray:
        """Which rows a fit may read."""
        return np.array([row.admitted and not row.queued for row in self.rows])

    def keys(self, columns: tuple[str, ...]) -> np.ndarray:
        """Value of some columns joined, per row."""
        return np.array([row.setting.key(columns) for row in self.rows])


def arrays(rows: Sequence[FirstToken]) -> Rows:
    """Build the arrays of rows."""
    own = np.array([row.prefill_ms for row in rows])
    iteration = np.array([row.iteration_ms for row in rows])
    others = np.array([row.sequences - 1 for row in rows])
    chunks = np.array([row.row.input_tokens / CHUNK_TOKENS for row in rows])
    share = others / (others + 1)
    features = np.stack([share * own, share * iteration, share * chunks * iteration, share, others * own], axis=1)
    return Rows(tuple(rows), own, features, np.log([row.measured_ms for row in rows]))


@dataclass(frozen=True)
class Fitted:
    """Shared logarithms, and each level's deviations by group value."""

    base: np.ndarray
    deviations: tuple[dict[str, np.ndarray], ...]

    def predict(self, rows: Rows) -> np.ndarray:
        """Log of the predicted TTFT of a request that finds room, ms."""
        logs = np.tile(self.base, (len(rows.own), 1))
        for (columns, basis, _), values in zip(LEVELS, self.deviations, strict=True):
            for place, key in enumerate(rows.keys(columns)):
                if key in values:
                    logs[place] += _spread(basis) @ values[key]
        found: np.ndarray = np.log(rows.own + (np.exp(logs) * rows.features).sum(axis=1))
        return found


def _spread(basis: str) -> np.ndarray:
    """Matrix that spreads a level's numbers over the terms."""
    return np.eye(len(TERMS)) if basis == "term" else np.eye(max(CLASSES) + 1)[list(CLASSES)]


class _Problem:
    """The flattened problem: shared factors, then level by level, value by value."""

    def __init__(self, rows: Rows, weight: np.ndarray) -> None:
        self.rows, self.weight = rows, weight
        self.names = [sorted(set(rows.keys(columns))) for columns, _, _ in LEVELS]
        self.spreads = [_spread(basis) for _, basis, _ in LEVELS]
        self.codes = []
        for (columns, _, _), names in zip(LEVELS, self.names, strict=True):
            place = {name: index for index, name in enumerate(names)}
            self.codes.append(np.array([place[key] for key in rows.keys(columns)]))
        sizes = [len(names) * spread.shape[1] for names, spread in zip(self.names, self.spreads, strict=True)]
        self.starts = np.cumsum([len(TERMS), *sizes])
        self.mean = np.concatenate([np.log([SHARED[name][0] for name in TERMS]), np.zeros(sum(sizes))])
        widths = [np.full(size, width) for size, (_, _, width) in zip(sizes, LEVELS, strict=True)]
        self.width = np.concatenate([np.array([SHARED[name][1] for name in TERMS]), *widths])

    def parts(self, values: np.ndarray, place: int) -> np.ndarray:
        """Deviations of one level, value by number."""
        own: np.ndarray = values[self.starts[place] : self.starts[place + 1]]
        return own.reshape(-1, self.spreads[place].shape[1])

    def loss(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient."""
        logs = np.tile(values[: len(TERMS)], (len(self.rows.own), 1))
        for place, (codes, spread) in enumerate(zip(self.codes, self.spreads, strict=True)):
            logs += (self.parts(values, place) @ spread.T)[codes]
        waits = np.exp(np.clip(logs, -12, 12)) * self.rows.features
        predicted = self.rows.own + waits.sum(axis=1)
        error = np.log(predicted) - self.rows.target
        near = np.sqrt(error**2 + SMOOTH**2)
        weight = self.weight * np.where(error > 0, OVER, 1.0) / SCALE
        slope = (weight * error / near / predicted)[:, None] * waits
        off = (values - self.mean) / self.width
        gradient = off / self.width
        gradient[: len(TERMS)] += slope.sum(axis=0)
        for place, (codes, spread) in enumerate(zip(self.codes, self.spreads, strict=True)):
            added = np.zeros((len(self.names[place]), spread.shape[1]))
            np.add.at(added, codes, slope @ spread)
            gradient[self.starts[place] : self.starts[place + 1]] += added.ravel()
        return float((weight * near).sum() + 0.5 * (off**2).sum()), gradient


def fit(rows: Rows, chosen: np.ndarray) -> Fitted:
    """Fit on the rows where ``chosen``."""
    problem = _Problem(rows, (chosen & rows.fitted).astype(float))
    found = minimize(problem.loss, problem.mean, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    seen = [set(rows.keys(columns)[chosen & rows.fitted]) for columns, _, _ in LEVELS]
    deviations = tuple(
        {name: value for name, value in zip(names, problem.parts(found, place), strict=True) if name in seen[place]}
        for place, names in enumerate(problem.names)
    )
    return Fitted(found[: len(TERMS)], deviations)


def folds(keys: Sequence[str], count: int = FOLDS) -> np.ndarray:
    """Assign whole groups of equal keys to folds."""
    names = np.array(sorted(set(keys)))
    np.random.default_rng(0).shuffle(names)
    place = {name: index % count for index, name in enumerate(names)}
    return np.array([place[key] for key in keys])


def held_out(rows: Rows, keys: Sequence[str], count: int = FOLDS) -> np.ndarray:
    """Log(predicted / measured) of requests that find room where the row's whole group was held out of the fit."""
    assigned = folds(keys, count)
    found = np.zeros(len(rows.target))
    for fold in range(count):
        inside = assigned == fold
        found[inside] = (fit(rows, ~inside).predict(rows) - rows.target)[inside]
    return found


def document(rows: Rows, fitted: Fitted) -> dict[str, Any]:
    """Lay the fitted numbers out as the catalogue file has them."""
    error = np.abs(np.expm1(fitted.predict(rows) - rows.target))[rows.fitted]
    groups = [
        {
            "columns": list(columns),
            "basis": basis,
            "values": {key: [round(float(one), 3) for one in value] for key, value in sorted(values.items())},
        }
        for (columns, basis, _), values in zip(LEVELS, fitted.deviations, strict=True)
    ]
    return {
        "source": "closed-loop serving points: InferenceX, aiconfigurator, GPUStack lab, Splitwise",
        "fit": {
            "rows": str(int(rows.fitted.sum())),
            "in_sample_median": f"{np.median(error):.3f}",
            "in_sample_p90": f"{np.quantile(error, 0.9):.3f}",
        },
        "base": [round(float(one), 4) for one in fitted.base],
        "groups": groups,
    }


def main() -> None:
    """Fit on a folder and write the catalogue file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    rows = arrays(list(read_first_tokens(parser.parse_args().data)))
    fitted = fit(rows, np.ones(len(rows.target), dtype=bool))
    FILE.write_text(json.dumps(document(rows, fitted)) + "\n")


if __name__ == "__main__":
    main()
