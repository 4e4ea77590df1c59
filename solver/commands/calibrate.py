"""``shardproof calibrate``: fit timing curves, from this machine's GPU or from recorded measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from shardproof.instances.calibration import Calibration
    from shardproof.solver.calibration.measurements import Measured

EPILOG = """\b
Examples:
  shardproof calibrate --device-name h100-sxm -o h100-sxm.json
  shardproof calibrate --from-measurements op_level.csv.gz --device-name l40s -o l40s.json
  shardproof calibrate --from-measurements op_level.csv.gz -o curves/
"""


@click.command(name="calibrate", epilog=EPILOG)
@click.option("--device-name", metavar="NAME", help="Catalogue name of the device (default: every one measured).")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Device file, or folder for several devices.")
@click.option(
    "--from-measurements",
    "recorded",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="Fit recorded rows instead of measuring.",
)
@click.option("--source", default=None, help="Where the measurements come from; kept in the device file.")
@click.option(
    "--folds",
    type=click.IntRange(0, 20),
    default=5,
    show_default=True,
    help="Parts into which shapes are split; each is held out once (0: none).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    device_name: str | None,
    output: Path | None,
    recorded: Path | None,
    source: str | None,
    folds: int,
    *,
    as_json: bool,
) -> None:
    """Fit timing curves and show them against the measurements.

    Without --from-measurements the micro-benchmarks run on this machine's GPU (PyTorch needed).
    """
    from rich.console import Console

    from shardproof.solver.calibration.measurements import read_measurements

    say = Console(stderr=True)
    if recorded is None:
        from shardproof.solver.calibration.microbenchmarks import measure

        measured, ran = measure(device_name, say=say.print)
        source = source or ran
    else:
        measured = read_measurements(recorded)
        source = source or f"measurements recorded in {recorded.name}"
    calibrations = _fit(measured, device_name, source=source, folds=folds, say=say.print)
    if output is not None:
        _write(calibrations, output)
    _show(calibrations, as_json=as_json)


def _fit(
    measured: dict[str, Measured], device_name: str | None, *, source: str, folds: int, say: Any
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


def _write(calibrations: dict[str, Calibration], output: Path) -> None:
    from shardproof.solver.calibration.writing import write_device, write_folder

    if len(calibrations) == 1 and output.suffix == ".json":
        write_device(next(iter(calibrations.values())), output)
    else:
        write_folder(calibrations, output)


def _show(calibrations: dict[str, Calibration], *, as_json: bool) -> None:
    rows = [
        {
            "device": device, "family": curve.key.family, "engine": curve.key.engine, "version": curve.key.version,
            "kernel": curve.key.kernel, "dtype": curve.key.dtype, "kv_dtype": curve.key.kv_dtype,
            "rows": curve.rows, "fit_error": curve.fit_error, "held_out_error": curve.held_out_error,
        }
        for device, calibration in calibrations.items()
        for curve in calibration.curves
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps({"curves": rows}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("device", "operation", "engine", "kernel", "dtype", "rows", "fit", "held out")
    for row in rows:
        held = "" if row["held_out_error"] is None else f"{row['held_out_error']:.1%}"
        words = [str(row[name]) for name in ("device", "family", "engine", "kernel", "dtype", "rows")]
        table.add_row(*words, f"{row['fit_error']:.1%}", held)
    Console().print(table)
