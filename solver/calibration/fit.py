"""fit: measurements -> calibrations, with the error on rows fitted and on whole shapes held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from formulations.costs.curves.evaluate import fitted_microseconds
from formulations.costs.curves.families import FAMILIES
from formulations.costs.curves.sizes import Array
from instances.calibration import Calibration, Centres, Curve, CurveKey, Figures
from solver.calibration.base import fit_base
from solver.calibration.measurements import Measured
from solver.calibration.residual import Smoothness, choose_centres, fit_weights
from solver.calibration.settings import centre_count, pool_of, smoothness_of

Owner = tuple[str, CurveKey]
Say = Callable[[str], None]


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
    curves: dict[Owner, Curve] = {}
    for pool, index in _pools(rows).items():
        part = rows.take(index)
        held = _held_out_errors(part, figures, placed, folds=folds, run=folds if run is None else run)
        fitted = fit_pool(part, figures, placed)
        curves.update({owner: _with_error(curve, held.get(owner)) for owner, curve in fitted.items()})
        say(f"{rows.family} {pool}: {len(index)} rows, {len(fitted)} curves")
    return Fitted(rows.family, placed, curves)


def _with_error(curve: Curve, errors: Array | None) -> Curve:
    if errors is None or not len(errors):
        return curve
    return curve.model_copy(update={"held_out_error": round(float(np.median(errors)), 4)})


def _pools(rows: Measured) -> dict[str, NDArray[np.intp]]:
    names = [pool_of(rows.family, device, key) for device, key in zip(rows.devices, rows.keys, strict=True)]
    return {name: np.flatnonzero(np.array(names) == name) for name in sorted(set(names))}


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


def fit_pool(rows: Measured, figures: Mapping[str, Figures], centres: Centres) -> dict[Owner, Curve]:
    """Fit the curves of one pool together."""
    owners, owner = _owners(rows)
    smoothness = smoothness_of(rows.family)
    bases = _bases(rows, owners, owner, figures)
    plain = [_plain(o, bases[o], rows.take(np.flatnonzero(owner == i))) for i, o in enumerate(owners)]
    empty = Centres(scales=centres.scales, points=(tuple(0.0 for _ in centres.scales),))
    target = np.zeros(len(owner))
    for position, (device, _) in enumerate(owners):
        mine = np.flatnonzero(owner == position)
        times = fitted_microseconds(plain[position], empty, figures[device], rows.take(mine).sizes)
        target[mine] = np.log(rows.microseconds[mine] / times)
    family = FAMILIES[rows.family]
    points = family.coordinates(rows.sizes) / np.asarray(family.scales)
    weights = fit_weights(points, target, owner, coupling(owners, smoothness), np.asarray(centres.points), smoothness)
    return {
        o: _finished(plain[i], weights[i], centres, figures[o[0]], rows.take(np.flatnonzero(owner == i)))
        for i, o in enumerate(owners)
    }


def _bases(
    rows: Measured, owners: list[Owner], owner: NDArray[np.intp], figures: Mapping[str, Figures]
) -> dict[Owner, Array]:
    start = np.asarray(FAMILIES[rows.family].start)
    first: dict[Owner, Array] = {}
    for position, (device, key) in enumerate(owners):
        mine = rows.take(np.flatnonzero(owner == position))
        first[(device, key)] = fit_base(mine, key, figures[device], start, hold=0.1)
    middle = np.median(np.stack(list(first.values())), axis=0)
    return {
        (device, key): fit_base(rows.take(np.flatnonzero(owner == position)), key, figures[device], middle, hold=0.1)
        for position, (device, key) in enumerate(owners)
    }


def _plain(owner: Owner, base: Array, rows: Measured) -> Curve:
    where = FAMILIES[rows.family].coordinates(rows.sizes)
    return Curve(
        key=owner[1],
        base=tuple(round(float(value), 4) for value in base),
        weights=(0.0,),
        low=tuple(round(float(value), 2) for value in where.min(0)),
        high=tuple(round(float(value) + 0.005, 2) for value in where.max(0)),
        rows=len(rows.microseconds),
        fit_error=0,
    )


def _finished(curve: Curve, weights: Array, centres: Centres, figures: Figures, rows: Measured) -> Curve:
    full = curve.model_copy(update={"weights": tuple(round(float(weight), 3) for weight in weights)})
    times = fitted_microseconds(full, centres, figures, rows.sizes)
    error = float(np.median(abs(times / rows.microseconds - 1)))
    return full.model_copy(update={"fit_error": round(error, 4)})


def _held_out_errors(
    rows: Measured, figures: Mapping[str, Figures], centres: Centres, *, folds: int, run: int
) -> dict[Owner, Array]:
    fold = rows.folds(folds)
    found: dict[Owner, list[Array]] = {}
    for number in range(run):
        kept, left = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(kept) or not len(left):
            continue
        fitted = fit_pool(rows.take(kept), figures, centres)
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
