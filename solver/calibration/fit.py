"""fit: measurements -> calibrations, with the error on rows fitted and on whole shapes held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.costs.curves.evaluate import fitted_microseconds, kernel, roofline
from shardproof.formulations.costs.curves.families import FAMILIES
from shardproof.formulations.costs.curves.precision import Precision
from shardproof.formulations.costs.curves.sizes import Array
from shardproof.instances.calibration import Calibration, Centres, Curve, CurveKey, Figures
from shardproof.solver.calibration.base import fit_base
from shardproof.solver.calibration.measurements import Measured
from shardproof.solver.calibration.residual import Smoothness, choose_centres, fit_common, fit_weights
from shardproof.solver.calibration.settings import centre_count, generation_of, pool_of, smoothness_of

Owner = tuple[str, CurveKey]
Say = Callable[[str], None]
_LOOSE = 0.1
"""Weight that keeps a factor near its start where a family states none."""


@dataclass(frozen=True)
class Fitted:
    """Curves of one family by device, and its centres."""

    family: str
    centres: Centres
    curves: Mapping[Owner, Curve]


def _silent(_text: str) -> None:
    return


def place_centres(rows: Measured) -> Centres:
    """Choose a family's centres from the shapes that were measured."""
    family = FAMILIES[rows.family]
    scales = np.asarray(family.scales)
    points = choose_centres(family.coordinates(rows.sizes) / scales, centre_count(rows.family))
    return Centres(scales=family.scales, points=tuple(tuple(round(float(v), 3) for v in p) for p in points))


def fit_family(
    rows: Measured,
    figures: Mapping[str, Figures],
    *,
    folds: int = 5,
    run: int | None = None,
    say: Say = _silent,
    centres: Centres | None = None,
) -> Fitted:
    """Fit every curve of one family; ``folds`` of the shapes are held out in turn (``run`` of them; 0: none)."""
    placed = centres or place_centres(rows)
    held = _held_out_errors(rows, figures, placed, folds=folds, run=folds if run is None else run)
    fitted = fit_rows(rows, figures, placed)
    say(f"{rows.family}: {len(rows.keys)} rows, {len(fitted)} curves")
    return Fitted(rows.family, placed, {owner: _with_error(curve, held.get(owner)) for owner, curve in fitted.items()})


def _with_error(curve: Curve, errors: Array | None) -> Curve:
    if errors is None or not len(errors):
        return curve
    return curve.model_copy(update={"held_out_error": round(float(np.median(errors)), 4)})


def _owners(rows: Measured) -> tuple[list[Owner], NDArray[np.intp]]:
    pairs = list(zip(rows.devices, rows.keys, strict=True))
    owners = sorted(set(pairs), key=lambda owner: (owner[0], owner[1].model_dump_json()))
    place = {owner: position for position, owner in enumerate(owners)}
    return owners, np.array([place[pair] for pair in pairs], dtype=np.intp)


def coupling(owners: list[Owner], smoothness: Smoothness) -> Array:
    """Return c: how much of its residual each curve shares with each other one."""
    kernels = np.array([f"{key.kernel}|{key.dtype}|{key.scope}" for _, key in owners])
    devices = np.array([device for device, _ in owners])
    return np.asarray(
        smoothness.common
        + smoothness.kernel * (kernels[:, None] == kernels[None])
        + smoothness.device * (devices[:, None] == devices[None])
        + smoothness.curve * np.eye(len(owners))
    )


def fit_rows(rows: Measured, figures: Mapping[str, Figures], centres: Centres) -> dict[Owner, Curve]:
    """Fit the curves of one family: rooflines, then what all curves share, then each pool."""
    owners, owner = _owners(rows)
    pools = [pool_of(rows.family, device, key) for device, key in owners]
    bases = _bases(rows, owners, owner, pools, figures)
    parts = [rows.take(np.flatnonzero(owner == position)) for position in range(len(owners))]
    target = np.zeros(len(owner))
    for position, found in enumerate(owners):
        times = _roofline(found, bases[position], parts[position], figures)
        target[owner == position] = np.log(parts[position].microseconds / times)
    weights = _weights(rows, owners, owner, pools, target, centres)
    return {
        found: _finished(found, bases[i], weights[i], centres, figures[found[0]], parts[i])
        for i, found in enumerate(owners)
    }


def _roofline(owner: Owner, base: Array, rows: Measured, figures: Mapping[str, Figures]) -> Array:
    device, key = owner
    precision = Precision.of(key.dtype, key.kv_dtype)
    return roofline(key.family, base, rows.sizes, precision, figures[device], cross=key.scope == "cross")


def _weights(
    rows: Measured, owners: list[Owner], owner: NDArray[np.intp], pools: list[str], target: Array, centres: Centres
) -> Array:
    smoothness = smoothness_of(rows.family)
    placed = np.asarray(centres.points)
    points = FAMILIES[rows.family].coordinates(rows.sizes) / np.asarray(centres.scales)
    left, weights = target.copy(), np.zeros((len(owners), len(placed)))
    for level in (["all"] * len(owners), [generation_of(device) for device, _ in owners]):
        for name in sorted(set(level)):
            members = np.flatnonzero(np.array(level) == name)
            index = np.flatnonzero(np.isin(owner, members))
            shared = fit_common(points[index], left[index], placed, smoothness)
            weights[members] += shared
            left[index] -= kernel(points[index], placed) @ shared
    for pool in sorted(set(pools)):
        members = np.array([position for position, name in enumerate(pools) if name == pool])
        index = np.flatnonzero(np.isin(owner, members))
        inside = np.searchsorted(members, owner[index])
        linked = coupling([owners[member] for member in members], smoothness)
        weights[members] += fit_weights(points[index], left[index], inside, linked, placed, smoothness)
    return weights


def _bases(
    rows: Measured,
    owners: list[Owner],
    owner: NDArray[np.intp],
    pools: list[str],
    figures: Mapping[str, Figures],
) -> list[Array]:
    def fit(position: int, start: Array) -> Array:
        device, key = owners[position]
        mine = rows.take(np.flatnonzero(owner == position))
        return fit_base(mine, key, figures[device], start, hold=hold)

    start = np.asarray(FAMILIES[rows.family].start)
    hold = np.asarray(FAMILIES[rows.family].hold or _LOOSE)
    first = [fit(position, start) for position in range(len(owners))]
    middles = {
        pool: np.median(np.stack([base for base, name in zip(first, pools, strict=True) if name == pool]), axis=0)
        for pool in set(pools)
    }
    return [np.round(fit(position, middles[pool]), 4) for position, pool in enumerate(pools)]


def _finished(owner: Owner, base: Array, weights: Array, centres: Centres, figures: Figures, rows: Measured) -> Curve:
    where = FAMILIES[rows.family].coordinates(rows.sizes)
    curve = Curve(
        key=owner[1],
        base=tuple(base.tolist()),
        weights=tuple(np.round(weights, 3).tolist()),
        low=tuple((np.floor(100 * where.min(0)) / 100).tolist()),
        high=tuple((np.ceil(100 * where.max(0)) / 100).tolist()),
        rows=len(rows.microseconds),
        fit_error=0,
    )
    times = fitted_microseconds(curve, centres, figures, rows.sizes)
    error = float(np.median(abs(times / rows.microseconds - 1)))
    return curve.model_copy(update={"fit_error": round(error, 4)})


def held_out_errors(rows: Measured, figures: Mapping[str, Figures], *, folds: int, run: int) -> Array:
    """Return the absolute relative errors on shapes held out, all curves together."""
    found = list(_held_out_errors(rows, figures, place_centres(rows), folds=folds, run=run).values())
    return np.concatenate(found) if found else np.zeros(0)


def errors_without(rows: Measured, figures: Mapping[str, Figures], size: str, value: float) -> Array:
    """Return the absolute relative errors on the rows of one value of a size, all of which were held out."""
    inside = getattr(rows.sizes, size) == value
    kept, left = rows.take(np.flatnonzero(~inside)), rows.take(np.flatnonzero(inside))
    if not len(kept.keys) or not len(left.keys):
        return np.zeros(0)
    centres = place_centres(kept)
    found = [errors for _, errors in errors_of(left, fit_rows(kept, figures, centres), centres, figures)]
    return np.concatenate(found) if found else np.zeros(0)


def _held_out_errors(
    rows: Measured, figures: Mapping[str, Figures], centres: Centres, *, folds: int, run: int
) -> dict[Owner, Array]:
    fold = rows.folds(folds)
    found: dict[Owner, list[Array]] = {}
    for number in range(run):
        kept, left = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(kept) or not len(left):
            continue
        fitted = fit_rows(rows.take(kept), figures, centres)
        for owner, errors in errors_of(rows.take(left), fitted, centres, figures):
            found.setdefault(owner, []).append(errors)
    return {owner: np.concatenate(parts) for owner, parts in found.items()}


def errors_of(
    rows: Measured, curves: Mapping[Owner, Curve], centres: Centres, figures: Mapping[str, Figures]
) -> Iterator[tuple[Owner, Array]]:
    """Yield the absolute relative errors of each curve on rows, where it has a curve."""
    owners, owner = _owners(rows)
    for position, found in enumerate(owners):
        if found in curves:
            mine = rows.take(np.flatnonzero(owner == position))
            times = fitted_microseconds(curves[found], centres, figures[found[0]], mine.sizes)
            yield found, abs(times / mine.microseconds - 1)


def assemble(fitted: list[Fitted], figures: Mapping[str, Figures], *, source: str) -> dict[str, Calibration]:
    """Gather fitted families into one calibration a device."""
    devices = sorted({device for part in fitted for device, _ in part.curves})
    return {
        device: Calibration(
            device=device,
            source=source,
            figures=figures[device],
            centres={part.family: part.centres for part in fitted},
            curves=tuple(curve for part in fitted for (name, _), curve in part.curves.items() if name == device),
        )
        for device in devices
    }
