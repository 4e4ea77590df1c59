"""Recompute every error figure: ``python -m benchmarks.fidelity --data DIR [--json]``.

Exit code 0 if every target holds, 1 if one is missed, 2 for bad input.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import click

from benchmarks.fidelity.figure import Figure
from shardproof.instances.errors import InputError

PARTS = ("operators", "serving", "first_token", "memory")


def figures(folder: Path, parts: tuple[str, ...]) -> Iterator[Figure]:
    """Evaluate each part in turn on the files that the folder holds."""
    for part in parts:
        name = f"benchmarks.fidelity.{part}"
        if importlib.util.find_spec(name) is not None:
            yield from import_module(name).evaluate(folder)


def holds(figure: Figure) -> bool | None:
    """Whether a figure meets its target; ``None`` without target or rows."""
    reached = getattr(figure, figure.statistic, None)
    return None if figure.target is None or reached is None else bool(reached <= figure.target)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with op_level.csv.gz, system_level.csv.gz, step_level.csv.gz, memory_logs.csv.gz.",
)
@click.option("--part", type=click.Choice(PARTS), multiple=True, help="Only these parts (default: all).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(data: Path, part: tuple[str, ...], *, as_json: bool) -> None:
    """Recompute every error figure from a folder of measurements."""
    try:
        found = list(figures(data, part or PARTS))
    except InputError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
    if as_json:
        click.echo(json.dumps([asdict(figure) | {"holds": holds(figure)} for figure in found], indent=2))
    else:
        _print(found)
    raise SystemExit(1 if any(holds(figure) is False for figure in found) else 0)


def _print(found: list[Figure]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "rows", "median", "p90", "share", "target", "holds", "note")
    for figure in found:
        target = "" if figure.target is None else f"{figure.target:.1%} ({figure.statistic})"
        verdict = {True: "yes", False: "no", None: ""}[holds(figure)]
        shares = map(_share, (figure.median, figure.p90, figure.share))
        table.add_row(figure.name, str(figure.count), *shares, target, verdict, figure.note)
    Console(width=150).print(table)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


if __name__ == "__main__":
    main()
