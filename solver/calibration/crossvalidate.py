"""Error on whole shapes held out: ``python -m solver.calibration.crossvalidate --data CSV [--folds 5] [--run 2]``."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from shardproof.solver.calibration.figures import figures_by_device
from shardproof.solver.calibration.fit import held_out_errors
from shardproof.solver.calibration.measurements import read_measurements


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="CSV file of measured rows.")
@click.option("--family", "families", multiple=True, help="Only these families (default: all).")
@click.option("--folds", default=5, show_default=True, help="Parts into which the shapes are split.")
@click.option("--run", default=2, show_default=True, help="How many of the parts to hold out in turn.")
def main(data: Path, families: tuple[str, ...], folds: int, run: int) -> None:
    """Print median and p90 of the absolute relative error on shapes that were not fitted, by family."""
    measured = read_measurements(data)
    figures = figures_by_device(device for rows in measured.values() for device in rows.devices)
    for family in families or measured:
        errors = held_out_errors(measured[family], figures, folds=folds, run=run)
        if len(errors):
            middle, high = np.quantile(errors, (0.5, 0.9))
            click.echo(f"{family}: {len(errors)} rows, median {middle:.2%}, p90 {high:.2%}")


if __name__ == "__main__":
    main()
