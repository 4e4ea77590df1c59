r"""Hierarchical fit: factors shared by all rows, and deviations by group that shrink to nothing.

.. math:: \log t_i = \log \sum_k e^{\theta_{k}(i)} x_{ik}, \qquad
          \theta_k(i) = \mu_k + \sum_g B_{kg}\, \delta_{g(i)}

Minimised by Levenberg-Marquardt under Student-t noise (an outlier pulls no further than its weight), with
normal priors on the shared factors and on every deviation. A group that was never seen has no deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.fidelity.serving_arrays import CLASSES, DECODE, TERM_CLASSES, Arrays

DEGREES = 3.0
ITERATIONS = 30


@dataclass(frozen=True)
class Level:
    """One group of deviations: its columns, basis (``term``, ``class`` or ``all``) and prior widths by class."""

    columns: tuple[str, ...]
    basis: str
    width: tuple[float, ...]


@dataclass(frozen=True)
class Prior:
    """Prior of the shared factors' logarithms: means and widths."""

    mean: np.ndarray
    width: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """Shared logarithms and the deviations of each level by group value."""

    levels: tuple[Level, ...]
    base: np.ndarray
    deviations: tuple[Mapping[str, np.ndarray], ...]

    def logs(self, rows: Arrays) -> np.ndarray:
        """Logarithms of the factors, rows x terms."""
        found = np.tile(self.base, (len(rows.target), 1))
        for level, values in zip(self.levels, self.deviations, strict=True):
            basis = basis_of(level)
            for place, key in enumerate(rows.keys(level.columns)):
                if key in values:
                    found[place] += basis @ values[key]
        return found

    def predict(self, rows: Arrays) -> np.ndarray:
        """Log of the predicted TPOT, no less than the datasheet allows."""
        return predicted(self.logs(rows), rows)


def predicted(logs: np.ndarray, rows: Arrays) -> np.ndarray:
    """Log of the TPOT that factors' logarithms give, decode and the prefill beside it each on its floor."""
    parts = np.exp(logs) * rows.features
    split = (parts[:, : len(DECODE)].sum(axis=1), parts[:, len(DECODE) :].sum(axis=1))
    found: np.ndarray = np.log(np.maximum(split[0], rows.floors[:, 0]) + np.maximum(split[1], rows.floors[:, 1]))
    return found


def basis_of(level: Level) -> np.ndarray:
    """Matrix that spreads a level's numbers over the terms."""
    count = len(TERM_CLASSES)
    if level.basis == "term":
        return np.eye(count)
    return np.eye(len(CLASSES))[list(TERM_CLASSES)] if level.basis == "class" else np.ones((count, 1))


def _widths(level: Level) -> np.ndarray:
    if level.basis == "term":
        return np.array([level.width[kind] for kind in TERM_CLASSES])
    return np.array(level.width if level.basis == "class" else level.width[:1])


@dataclass
class _Problem:
    """The flattened problem: level by level, value by value."""

    rows: Arrays
    levels: tuple[Level, ...]
    prior: Prior
    scale: np.ndarray

    def __post_init__(self) -> None:
        self.names = [sorted(set(self.rows.keys(level.columns))) for level in self.levels]
        self.codes = [
            np.array([names.index(key) for key in self.rows.keys(level.columns)])
            for names, level in zip(self.names, self.levels, strict=True)
        ]
        self.bases = [basis_of(level) for level in self.levels]
        self.starts = [len(self.prior.mean)]
        precision = [1 / self.prior.width**2]
        for names, level, basis in zip(self.names, self.levels, self.bases, strict=True):
            self.starts.append(self.starts[-1] + len(names) * basis.shape[1])
            precision.append(np.tile(1 / _widths(level) ** 2, len(names)))
        self.precision = np.concatenate(precision)
        self.mean = np.concatenate([self.prior.mean, np.zeros(self.starts[-1] - self.starts[0])])

    def contributions(self, values: np.ndarray) -> np.ndarray:
        """Milliseconds by row and term."""
        logs = np.tile(values[: self.starts[0]], (len(self.rows.target), 1))
        for place, (codes, basis) in enumerate(zip(self.codes, self.bases, strict=True)):
            own = values[self.starts[place] : self.starts[place + 1]].reshape(-1, basis.shape[1])
            logs += (own @ basis.T)[codes]
        found: np.ndarray = np.exp(logs) * self.rows.features
        return found

    def objective(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """Return (loss, residuals of the logarithm)."""
        residual = self.rows.target - np.log(self.contributions(values).sum(axis=1))
        noise = 0.5 * (DEGREES + 1) * np.log1p((residual / self.scale) ** 2 / DEGREES)
        shrink = 0.5 * self.precision * (values - self.mean) ** 2
        return float(noise.sum() + shrink.sum()), residual

    def system(self, values: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the normal equations at ``values``."""
        share = self.contributions(values)
        share /= share.sum(axis=1, keepdims=True)
        count = len(residual)
        jacobian = np.zeros((count, len(values)))
        jacobian[:, : self.starts[0]] = share
        for place, (codes, basis) in enumerate(zip(self.codes, self.bases, strict=True)):
            spread = share @ basis
            for column in range(basis.shape[1]):
                jacobian[np.arange(count), self.starts[place] + codes * basis.shape[1] + column] = spread[:, column]
        weight = (DEGREES + 1) / (DEGREES + (residual / self.scale) ** 2) / self.scale**2
        matrix = (jacobian * weight[:, None]).T @ jacobian
        matrix[np.diag_indices(len(values))] += self.precision
        return matrix, jacobian.T @ (weight * residual) - self.precision * (values - self.mean)


def fit(rows: Arrays, levels: Sequence[Level], prior: Prior, *, scale: np.ndarray) -> Fitted:
    """Fit the hierarchy; ``scale`` is the relative error that is typical of each row."""
    problem = _Problem(rows, tuple(levels), prior, scale)
    values = problem.mean.copy()
    loss, residual = problem.objective(values)
    damping = 1.0
    for _ in range(ITERATIONS):
        matrix, gradient = problem.system(values, residual)
        diagonal = np.diag(matrix).copy()
        for _attempt in range(5):
            damped = matrix.copy()
            damped[np.diag_indices(len(values))] += 0.1 * damping * diagonal
            trial = values + np.clip(np.linalg.solve(damped, gradient), -1, 1)
            after, left = problem.objective(trial)
            if after < loss:
                break
            damping *= 6
        else:
            break
        settled, values, loss, residual = loss - after < 0.3, trial, after, left
        damping = max(damping / 4, 1e-3)
        if settled:
            break
    return _fitted(problem, values)


def _fitted(problem: _Problem, values: np.ndarray) -> Fitted:
    deviations = []
    for place, (names, basis) in enumerate(zip(problem.names, problem.bases, strict=True)):
        own = values[problem.starts[place] : problem.starts[place + 1]].reshape(-1, basis.shape[1])
        deviations.append(dict(zip(names, own, strict=True)))
    return Fitted(problem.levels, values[: problem.starts[0]], tuple(deviations))
