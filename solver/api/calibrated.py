"""`calibrate`: timing curves fitted to this machine's GPU or to recorded measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.solver.api.options import check_options
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.calibration import Calibration
    from shardproof.solver.calibration.measurements import Measured


@dataclass(frozen=True, repr=False, eq=False)
class Calibrated(Answered):
    """Fitted curves of each device."""

    calibrations: Mapping[str, Calibration]

    def write(self, output: str | Path) -> None:
        """Write one device as a ``.json`` file, or all of them into a folder."""
        from shardproof.solver.calibration.writing import write_device, write_folder

        path = Path(output)
        if len(self.calibrations) == 1 and path.suffix == ".json":
            write_device(next(iter(self.calibrations.values())), path)
        else:
            write_folder(dict(self.calibrations), path)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``calibrate --json`` prints."""
        return {"curves": list(self.rows())}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each curve: what it times, and how well it fits what was held out."""
        return [
            {
                "device": device, "family": curve.key.family, "engine": curve.key.engine,
                "version": curve.key.version, "kernel": curve.key.kernel, "dtype": curve.key.dtype,
                "kv_dtype": curve.key.kv_dtype, "rows": curve.rows, "fit_error": curve.fit_error,
                "held_out_error": curve.held_out_error,
            }
            for device, calibration in self.calibrations.items()
            for curve in calibration.curves
        ]  # fmt: skip

    def __str__(self) -> str:
        """Return what was fitted."""
        return f"{len(self.rows())} curves of {', '.join(self.calibrations)}"

    def __repr__(self) -> str:
        """Return one line."""
        return f"Calibrated({self})"


def calibrate(
    measurements: str | Path | None = None,
    *,
    device_name: str | None = None,
    source: str | None = None,
    folds: int = 5,
    on_progress: Callable[[str], None] | None = None,
) -> Calibrated:
    """Fit timing curves to recorded measurements, or to micro-benchmarks of this machine's GPU.

    Parameters
    ----------
    measurements
        CSV of recorded rows (``--from-measurements``); without it this machine's GPU is measured (PyTorch needed).
    device_name
        Catalogue name of the device; every one measured without it.
    source
        Where the measurements come from; kept in the device file.
    folds
        Parts into which shapes are split, each held out once (0: none).
    on_progress
        Called with what is measured or fitted next.

    Raises
    ------
    InputError
        If the file or the device is wrong.
    """
    check_options("calibrate", {"folds": folds})
    from shardproof.solver.calibration.measurements import read_measurements

    say = on_progress or _silent
    if measurements is None:
        from shardproof.solver.calibration.microbenchmarks import measure

        measured, ran = measure(device_name, say=say)
        source = source or ran
    else:
        path = Path(measurements)
        measured = read_measurements(path)
        source = source or f"measurements recorded in {path.name}"
    return Calibrated(_fit(measured, device_name, source=source, folds=folds, say=say))


def _silent(text: str) -> None:
    del text


def _fit(
    measured: dict[str, Measured], device_name: str | None, *, source: str, folds: int, say: Callable[[str], None]
) -> dict[str, Calibration]:
    from shardproof.instances.errors import InputError, Problem
    from shardproof.solver.calibration.figures import figures_by_device
    from shardproof.solver.calibration.fit import assemble, fit_family

    devices = sorted({device for rows in measured.values() for device in rows.devices})
    if device_name is not None:
        if device_name not in devices:
            remedy = f"has no rows in these measurements; they hold {', '.join(devices)}"
            raise InputError([Problem("--device-name", "", device_name, remedy)])
        measured = {family: rows.of_device(device_name) for family, rows in measured.items()}
        devices = [device_name]
    figures = figures_by_device(devices)
    kept = [rows for rows in measured.values() if rows.keys]
    fitted = [fit_family(rows, figures, folds=max(folds, 1), run=folds, say=say) for rows in kept]
    return assemble(fitted, figures, source=source)
