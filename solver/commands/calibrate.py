"""``shardproof calibrate``: fit timing curves, from this machine's GPU or from recorded measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from shardproof.solver.commands.parameters import Verb
from shardproof.solver.commands.printing import print_json

if TYPE_CHECKING:
    from shardproof.solver.api.calibrated import Calibrated

EPILOG = """\b
Examples:
  shardproof calibrate --device-name h100-sxm -o h100-sxm.json
  shardproof calibrate --from-measurements op_level.csv.gz \\
    --device-name l40s -o l40s.json
  shardproof calibrate --from-measurements op_level.csv.gz -o curves/
"""


@click.command(name="calibrate", cls=Verb, epilog=EPILOG)
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

    from shardproof.solver.api.calibrated import calibrate

    say = Console(stderr=True).print
    found = calibrate(recorded, device_name=device_name, source=source, folds=folds, on_progress=say)
    if output is not None:
        found.write(output)
    _show(found, as_json=as_json)


def _show(found: Calibrated, *, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("device", "operation", "engine", "kernel", "dtype", "rows", "fit", "held out")
    for row in found.rows():
        held = "" if row["held_out_error"] is None else f"{row['held_out_error']:.1%}"
        words = [str(row[name]) for name in ("device", "family", "engine", "kernel", "dtype", "rows")]
        table.add_row(*words, f"{row['fit_error']:.1%}", held)
    Console().print(table)
