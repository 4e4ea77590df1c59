r"""evaluate: times of a curve, as fitted and made monotone.

.. math:: t(x) = t_{roofline}(x) \cdot e^{r(x)}, \qquad r(x) = \sum_j w_j \, \kappa(|z(x) - c_j|)

with z the scaled coordinates, c the centres of the family and :math:`\kappa(d) = (1 + \sqrt 3 d) e^{-\sqrt 3 d}`.
Beyond the measured range the residual is that of the range's edge. For plans the curve is read on a grid of
its load sizes (half octaves), made non-decreasing by running maxima, and interpolated in logarithms: so a
larger load never takes less time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shardproof.formulations.costs.curves.families import FAMILIES
from shardproof.formulations.costs.curves.precision import Precision
from shardproof.formulations.costs.curves.sizes import Array, Sizes
from shardproof.instances.calibration import Centres, Curve, Figures


def kernel(points: Array, centres: Array) -> Array:
    """Matern-3/2 kernel of scaled points (rows) and centres (columns), dimensionless."""
    squared = (points**2).sum(1)[:, None] + (centres**2).sum(1)[None] - 2 * points @ centres.T
    distance = np.sqrt(3 * np.maximum(squared, 1e-12))
    return np.asarray((1 + distance) * np.exp(-distance))


def roofline(
    family_name: str,
    base: Sequence[float] | Array,
    sizes: Sizes,
    precision: Precision,
    figures: Figures,
    *,
    cross: bool = False,
) -> Array:
    """Microseconds of the saturating roofline (see `families`)."""
    family = FAMILIES[family_name]
    work = family.work(sizes, precision)
    peaks = figures.peak_flops
    peak = peaks.get(precision.compute) or peaks.get("bf16") or peaks["fp16"]
    link = figures.cross_bandwidth if cross else figures.link_bandwidth
    launch, compute, memory, *own = np.exp(np.asarray(base))
    computing = 1e6 * work.flops / peak * compute
    moving = 1e6 * (work.memory_bytes / figures.memory_bandwidth + work.link_bytes / link) * memory
    s = family.sharpness
    terms = sum(factor * term for factor, term in zip(own, work.own, strict=True))
    return np.asarray(launch + (computing**s + moving**s) ** (1 / s) + terms)


def fitted_microseconds(curve: Curve, centres: Centres, figures: Figures, sizes: Sizes) -> Array:
    """Microseconds of the fitted curve at the given sizes."""
    key = curve.key
    precision = Precision.of(key.dtype, key.kv_dtype)
    base = roofline(key.family, curve.base, sizes, precision, figures, cross=key.scope == "cross")
    where = np.clip(FAMILIES[key.family].coordinates(sizes), curve.low, curve.high)
    scales = np.asarray(centres.scales)
    residual = kernel(where / scales, np.asarray(centres.points)) @ np.asarray(curve.weights)
    return np.asarray(base * np.exp(residual))
