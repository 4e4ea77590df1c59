"""load: one curve at one shape as a table over its load sizes, non-decreasing by construction."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, exp, log2

import numpy as np

from shardproof.formulations.costs.curves.evaluate import fitted_microseconds
from shardproof.formulations.costs.curves.families import FAMILIES
from shardproof.formulations.costs.curves.sizes import Sizes
from shardproof.instances.calibration import Centres, Curve, Figures

_TOP = {"batch": 14, "query": 22, "context": 24, "message_bytes": 38}
_USUAL_TOP = 26


@dataclass(frozen=True)
class LoadTable:
    """Logarithms of microseconds on a grid of log2 load sizes: ``values[i][j]`` (one column if one axis)."""

    knots: tuple[tuple[float, ...], ...]
    values: tuple[tuple[float, ...], ...]

    def microseconds(self, loads: tuple[float, ...]) -> float:
        """Interpolate linearly in logarithms; sizes beyond the grid are those of its edge."""
        found = self._known.get(loads)
        if found is None:
            found = self._known[loads] = self._interpolated(loads)
        return found

    @cached_property
    def _known(self) -> dict[tuple[float, ...], float]:
        return {}

    def _interpolated(self, loads: tuple[float, ...]) -> float:
        row, across = _place(self.knots[0], loads[0])
        if len(self.knots) == 1:
            return exp(_mix(self.values[row][0], self.values[row + 1][0], across))
        column, along = _place(self.knots[1], loads[1])
        low, high = self.values[row], self.values[row + 1]
        first = _mix(low[column], low[column + 1], along)
        return exp(_mix(first, _mix(high[column], high[column + 1], along), across))

    def reaches(self, loads: tuple[float, ...], axes: Sequence[str]) -> bool:
        """Whether the grid holds loads on its axes, or goes as far as any grid does."""
        pairs = zip(self.knots, loads, axes, strict=True)
        return all(load <= 2 ** knots[-1] or knots[-1] >= _TOP.get(axis, _USUAL_TOP) for knots, load, axis in pairs)


def _mix(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _place(knots: tuple[float, ...], size: float) -> tuple[int, float]:
    where = log2(size) if size > 1 else 0.0
    index = min(max(bisect_right(knots, where) - 1, 0), len(knots) - 2)
    share = (where - knots[index]) / (knots[index + 1] - knots[index])
    return index, min(max(share, 0.0), 1.0)


def table_of(
    curve: Curve, centres: Centres, figures: Figures, shape: Mapping[str, float], reach: Sequence[float] | None = None
) -> LoadTable:
    """Tabulate a curve at a shape (sizes by name; those that are loads left out).

    ``reach``: loads beyond which the table need not go; what it holds does not depend on it.
    """
    axes = FAMILIES[curve.key.family].axes
    finer = 2 if len(axes) == 1 else 1
    tops = [_TOP.get(axis, _USUAL_TOP) for axis in axes]
    if reach is not None:
        tops = [min(top, max(1, ceil(log2(max(load, 1))))) for top, load in zip(tops, reach, strict=True)]
    knots = [np.arange(finer * top + 1) / finer for top in tops]
    mesh = np.meshgrid(*(2**knot for knot in knots), indexing="ij")
    points = mesh[0].size
    fixed = {name: np.full(points, float(value)) for name, value in shape.items()}
    sizes = Sizes(**fixed, **{axis: values.ravel() for axis, values in zip(axes, mesh, strict=True)})
    values = np.log(fitted_microseconds(curve, centres, figures, sizes)).reshape(mesh[0].shape)
    for axis in range(len(axes)):
        values = np.maximum.accumulate(values, axis=axis)
    grid = values.reshape(len(knots[0]), -1)
    return LoadTable(
        tuple(tuple(float(v) for v in knot) for knot in knots), tuple(tuple(map(float, row)) for row in grid)
    )
