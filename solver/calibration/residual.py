r"""residual: what the roofline leaves, smoothed over sizes and shared between related curves.

A Gaussian process on log time over roofline, with covariance :math:`a\, c_{gh}\, k(x, x')` between row x of
curve g and row x' of curve h: k is the Matern-3/2 kernel of the family's scaled coordinates, projected on its
centres; c is 1 within a curve and smaller between curves that share a kernel, a device or only the pool.
Outliers (a kernel switch, a disturbed run) lose weight by Student-t reweighting. The posterior mean of each
curve is a weighted sum of the centres: those weights are what a calibration ships.

Source: Quinonero-Candela and Rasmussen, A unifying view of sparse approximate Gaussian process regression,
JMLR 6 (2005), the subset-of-regressors form; Bonilla et al., Multi-task Gaussian process prediction (2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.costs.curves.evaluate import kernel
from shardproof.formulations.costs.curves.sizes import Array

_JITTER = 1e-5
_COMMON_NOISE = 0.2


@dataclass(frozen=True)
class Smoothness:
    """How far residuals are trusted.

    ``noise`` of one row and ``spread`` of residuals, in log time; ``common, kernel, device, curve``: shares
    of the spread that all curves of a pool have in common, that curves of one kernel and of one device share,
    and that is a curve's own. They add up to 1.
    """

    noise: float = 0.05
    spread: float = 0.25
    common: float = 0.25
    kernel: float = 0.25
    device: float = 0.15
    curve: float = 0.35
    rounds: int = 3


def choose_centres(points: Array, count: int) -> Array:
    """Choose up to ``count`` of the points that lie farthest apart, beginning next to their mean."""
    unique = np.unique(np.round(points, 3), axis=0)
    chosen = [int(np.argmin(((unique - unique.mean(0)) ** 2).sum(1)))]
    distance = ((unique - unique[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(count, len(unique)) and distance.max() > 1e-4:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((unique - unique[chosen[-1]]) ** 2).sum(1))
    return np.asarray(unique[chosen])


def fit_common(points: Array, target: Array, centres: Array, smoothness: Smoothness) -> Array:
    """Fit the weights that all curves of a family share, before pools are fitted to what those leave.

    Differences between curves count as noise here.
    """
    root = np.linalg.cholesky(kernel(centres, centres) + _JITTER * np.eye(len(centres)))
    features = np.linalg.solve(root, kernel(centres, points)).T
    trust = np.ones(len(target))
    for _ in range(smoothness.rounds):
        scaled = trust[:, None] * features
        ridge = (_COMMON_NOISE / smoothness.spread) ** 2 * np.eye(len(centres))
        shared = np.linalg.solve(features.T @ scaled + ridge, scaled.T @ target)
        trust = 4 / (3 + ((target - features @ shared) / _COMMON_NOISE) ** 2)
    return np.asarray(np.linalg.solve(root.T, shared))


def fit_weights(
    points: Array, target: Array, owner: NDArray[np.intp], coupling: Array, centres: Array, smoothness: Smoothness
) -> Array:
    """Fit weights on the centres, one row a curve.

    ``points``: scaled coordinates; ``target``: log of time over roofline; ``owner``: curve of each row;
    ``coupling``: c, curves x curves.
    """
    root = np.linalg.cholesky(kernel(centres, centres) + _JITTER * np.eye(len(centres)))
    features = np.linalg.solve(root, kernel(centres, points)).T
    shared = smoothness.spread**2 * coupling[np.ix_(owner, owner)] * (features @ features.T)
    noise = np.full(len(target), smoothness.noise**2)
    for _ in range(smoothness.rounds):
        dual = np.linalg.solve(shared + np.diag(noise), target)
        left = noise * dual
        noise = smoothness.noise**2 * (3 + (left / smoothness.noise) ** 2) / 4
    mixed = coupling[:, owner] * dual
    return np.asarray(np.linalg.solve(root.T, smoothness.spread**2 * (mixed @ features).T).T)
