"""Calibrations: fitted timing curves of one device, with where they come from and how well they fit.

A calibration holds fitted numbers only. A curve belongs to one operation family, engine and version, kernel
and precision; its time is a saturating roofline (``base``) times the exponential of a smooth residual
(``weights`` on the centres of its family, see `shardproof.formulations.costs.curves`).
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from pydantic import Field, ValidationError

from shardproof.instances.base import Record
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.hardware import Device

FOLDER = "catalog/calibrations"


class CurveKey(Record):
    """What a curve was measured on: operation family, engine, kernel and precision.

    ``scope``: ``node`` where all ranks share the scale-up link, ``cross`` where they do not.
    """

    family: str
    engine: str
    version: str
    kernel: str
    dtype: str
    kv_dtype: str = ""
    scope: str = "node"


class Curve(Record):
    """One fitted curve.

    ``base``: logarithms of the roofline's factors (see the family); ``weights``: of the residual, one a
    centre, dimensionless; ``low, high``: range of the coordinates measured (log2 of sizes); ``rows``:
    measurements fitted; ``fit_error, held_out_error``: median absolute relative error on rows fitted, and on
    whole shapes held out (``None``: too few shapes to hold any out).
    """

    key: CurveKey
    base: tuple[float, ...]
    weights: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    rows: int = Field(ge=1)
    fit_error: float = Field(ge=0)
    held_out_error: float | None = Field(default=None, ge=0)


class Figures(Record):
    """The device's datasheet figures that the rooflines are relative to: FLOP/s and bytes/s."""

    peak_flops: dict[str, float]
    memory_bandwidth: float = Field(gt=0)
    link_bandwidth: float = Field(gt=0)
    cross_bandwidth: float = Field(gt=0)


class Centres(Record):
    """Points (in scaled coordinates) on which the residuals of one family are expanded."""

    scales: tuple[float, ...]
    points: tuple[tuple[float, ...], ...]


class Calibration(Record):
    """All curves of one device.

    ``device``: catalogue name; ``source``: the measurements; ``relative``: for a device without measurements
    of its own, the sentence that says whose curves these are, and by which ratios.
    """

    device: str
    source: str
    figures: Figures
    centres: dict[str, Centres]
    curves: tuple[Curve, ...]
    relative: str | None = None

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines with at least one curve, sorted."""
        return tuple(sorted({curve.key.engine for curve in self.curves}))


def _folder() -> Traversable:
    return files("shardproof.instances") / FOLDER


def measured_devices() -> tuple[str, ...]:
    """Names of the devices with measured curves, sorted."""
    names = (entry.name for entry in _folder().iterdir() if entry.name.endswith(".json"))
    return tuple(sorted(name.removesuffix(".json") for name in names if name not in ("centres.json", "relatives.json")))


def parse_calibration(text: str, *, where: str, shared: dict[str, Centres] | None = None) -> Calibration:
    """Read a calibration from JSON text; centres that it does not state are taken from ``shared``.

    Raises InputError naming file, field, value and remedy.
    """
    try:
        stated = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError([Problem(where, f"line {error.lineno}", error.msg, "write a JSON document")]) from None
    except (RecursionError, ValueError):
        raise InputError([Problem(where, "", "", "nested too deeply, or a number is too long")]) from None
    try:
        calibration = Calibration.model_validate(stated)
    except ValidationError as error:
        raise InputError(
            Problem(where, ".".join(map(str, entry["loc"])), str(entry.get("input"))[:60], entry["msg"])
            for entry in error.errors()
        ) from None
    return calibration.model_copy(update={"centres": {**(shared or {}), **calibration.centres}})


@cache
def shared_centres() -> dict[str, Centres]:
    """Return the centres of every family, as shipped."""
    stated = json.loads((_folder() / "centres.json").read_text(encoding="utf-8"))
    return {family: Centres.model_validate(centres) for family, centres in stated.items()}


@cache
def load_calibration(device: str) -> Calibration:
    """Load the shipped calibration of a measured device (`measured_devices`)."""
    entry = _folder() / f"{device}.json"
    return parse_calibration(entry.read_text(encoding="utf-8"), where=entry.name, shared=shared_centres())


def figures_of(device: Device) -> Figures:
    """Return the figures of a catalogue device, as floats."""
    return Figures(
        peak_flops={str(dtype): float(peak) for dtype, peak in device.peak_flops.items()},
        memory_bandwidth=float(device.memory_bandwidth),
        link_bandwidth=float(device.scale_up.bandwidth),
        cross_bandwidth=float(device.scale_out.bandwidth),
    )


@cache
def relatives() -> dict[str, str]:
    """Return, for devices without measurements, the measured device whose curves they take."""
    stated = json.loads((_folder() / "relatives.json").read_text(encoding="utf-8"))
    return {str(name): str(relative) for name, relative in stated.items()}


def calibration_for(name: str, device: Device, *, engine: str) -> tuple[Calibration, str] | None:
    """Find curves for a device by catalogue name, and the sentence that says whose they are.

    ``None`` where the device has neither measurements nor a stated relative. Of a relative the rooflines are
    read at this device's own datasheet figures, so times scale by the ratios that the sentence states.
    """
    if name in measured_devices():
        own = load_calibration(name)
        return own, _own_note(own, engine)
    if name not in relatives():
        return None
    lent = load_calibration(relatives()[name])
    note = _relative_note(name, figures_of(device), lent, engine)
    return lent.model_copy(update={"device": name, "figures": figures_of(device), "relative": note}), note


def calibration_digest(name: str) -> str:
    """Return the first 16 hexadecimal digits of SHA-256 over the curves that a device takes."""
    measured = name if name in measured_devices() else relatives()[name]
    texts = ((_folder() / f"{entry}.json").read_bytes() for entry in (measured, "centres"))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:16]


def _own_note(own: Calibration, engine: str) -> str:
    measured = (
        ""
        if engine in (*own.engines, "any")
        else f"; {engine} was not measured there, the nearest engine's curves stand in"
    )
    return f"operator times of {own.device} follow curves fitted to measurements ({own.source}){measured}"


def _relative_note(name: str, figures: Figures, lent: Calibration, engine: str) -> str:
    here, there = figures, lent.figures
    where = "" if engine == "any" else f" on {engine}"
    shared = [dtype for dtype in here.peak_flops if dtype in there.peak_flops]
    peaks = ", ".join(f"{dtype} peak x{here.peak_flops[dtype] / there.peak_flops[dtype]:.2f}" for dtype in shared)
    return (
        f"{name} has no operator measurements: its times are those of {lent.device}{where}, scaled by {peaks}, "
        f"memory bandwidth x{here.memory_bandwidth / there.memory_bandwidth:.2f}, "
        f"link bandwidth x{here.link_bandwidth / there.link_bandwidth:.2f}"
    )
