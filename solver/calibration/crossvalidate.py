"""Error on whole shapes held out: ``python -m solver.calibration.crossvalidate --data CSV [--folds 5] [--run 2]``.

``--by ep`` holds out every value of one size in turn instead, for example whole rank counts.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from shardproof.formulations.costs.curves.sizes import Array
from shardproof.solver.calibration.figures import figures_by_device
from shardproof.solver.calibration.fit import errors_without, held_out_errors
from shardproof.solver.calibration.measurements import read_measurements


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="CSV file of measured rows.")
@click.option("--family", "families", multiple=True, help="Only these families (default: all).")
@click.option("--folds", default=5, show_default=True, help="Parts into which the shapes are split.")
@click.option("--run", default=2, show_default=True, help="How many of the parts to hold out in turn.")
@click.option("--by", type=click.Choice(["ep", "tp", "ranks"]), help="Hold out every value of this size in turn.")
def main(data: Path, families: tuple[str, ...], folds: int, run: int, by: str | None) -> None:
    """Print median and p90 of the absolute relative error on shapes that were not fitted, by family."""
    measured = read_measurements(data)
    figures = figures_by_device(device for rows in measured.values() for device in rows.devices)
    for family in families or measured:
        rows = measured[family]
        if by is None:
            _say(family, held_out_errors(rows, figures, folds=folds, run=run))
            continue
        for value in np.unique(getattr(rows.sizes, by)):
            _say(f"{family}, {by} {value:g}", errors_without(rows, figures, by, value))


def _say(name: str, errors: Array) -> None:
    if len(errors):
        middle, high = np.quantile(errors, (0.5, 0.9))
        click.echo(f"{name}: {len(errors)} rows, median {middle:.2%}, p90 {high:.2%}")


if __name__ == "__main__":
    main()
