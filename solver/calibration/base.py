"""base: the four factors of a curve's roofline, fitted on log time by damped Gauss-Newton steps.

The loss is pseudo-Huber, so that single outliers do not pull; factors are held near those of the whole pool,
so that a curve with few rows keeps a sensible shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shardproof.formulations.costs.curves.evaluate import roofline
from shardproof.formulations.costs.curves.precision import Precision
from shardproof.formulations.costs.curves.sizes import Array
from shardproof.instances.calibration import CurveKey, Figures
from shardproof.solver.calibration.measurements import Measured

_SCALE = 0.1
_STEP = 1e-4


def fit_base(rows: Measured, key: CurveKey, figures: Figures, start: Array, *, hold: Array) -> Array:
    """Fit the logarithms of the factors; ``hold`` keeps each near its start (one weight, or one each)."""
    precision = Precision.of(key.dtype, key.kv_dtype)
    measured = np.log(rows.microseconds)

    def residuals(factors: Array) -> Array:
        cross = key.scope == "cross"
        times = roofline(rows.family, factors, rows.sizes, precision, figures, cross=cross)
        return np.concatenate([np.log(times) - measured, hold * (factors - start)])

    return minimise(residuals, start)


def _loss(left: Array) -> float:
    return float((np.sqrt(1 + (left / _SCALE) ** 2) - 1).sum())


def minimise(residuals: Callable[[Array], Array], start: Array, *, rounds: int = 30) -> Array:
    """Minimise the pseudo-Huber loss of residuals by Levenberg-Marquardt steps of at most 1 a factor."""
    here, left = start.copy(), residuals(start)
    damping = 1e-2
    for _ in range(rounds):
        slopes = np.stack([(residuals(here + step) - left) / _STEP for step in _STEP * np.eye(len(here))], axis=1)
        weights = 1 / np.sqrt(1 + (left / _SCALE) ** 2)
        normal = slopes.T @ (weights[:, None] * slopes) + 1e-6 * np.eye(len(here))
        move = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -slopes.T @ (weights * left))
        trial = np.clip(here + np.clip(move, -1, 1), -14.0, 9.0)
        next_left = residuals(trial)
        if _loss(next_left) < _loss(left):
            here, left, damping = trial, next_left, max(damping / 4, 1e-7)
        else:
            damping *= 4
        if damping > 1e6:
            break
    return here
