"""Measure open loops: ``python -m benchmarks.open_loop speed|formulas|rates [--json]``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TextIO

import click

from benchmarks.solve.__main__ import finish


@click.group()
def application() -> None:
    """Measure how requests that come by themselves are planned; documents say on which machine and load."""


@application.command()
@click.option("--every", type=int, default=9, show_default=True, help="Only each n-th pair of the catalogue.")
@click.option("--time-limit", type=float, help="Seconds per pair.")
@click.option("--rows", type=click.File("w", lazy=False), help="Write one JSON line per pair here.")
@click.option("--json", "as_json", is_flag=True)
def speed(every: int, time_limit: float | None, rows: TextIO | None, *, as_json: bool) -> None:
    """Time `solve` on pairs of the catalogue, and hold bounds against plans."""
    from benchmarks.open_loop.speed import measure, summary
    from benchmarks.solve.catalogue import pairs

    found = []
    for row in measure(pairs(every=every), time_limit_s=time_limit):
        found.append(row)
        if rows is not None:
            rows.write(json.dumps(asdict(row)) + "\n")
            rows.flush()
    finish("open loop: speed", summary(found), as_json=as_json)


if __name__ == "__main__":
    application()
