"""Recompute every error figure: ``python -m benchmarks.fidelity --data DIR [--json]``.

Exit code 0 if every target holds, 1 if one is missed or no row tests it, 2 for bad input.
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

PARTS = ("operators", "rank_experts", "serving", "first_token", "memory", "start_logs")


def figures(folder: Path, parts: tuple[str, ...]) -> Iterator[Figure]:
    """Evaluate each part in turn on the files that the folder holds."""
    for part in parts:
        name = f"benchmarks.fidelity.{part}"
        if importlib.util.find_spec(name) is not None:
            yield from import_module(name).evaluate(folder)


def reached(figure: Figure) -> float | None:
    """Value of the statistic that a target binds; ``None`` without rows."""
    value: float | None = getattr(figure, figure.statistic, None)
    return value if figure.count else None


def holds(figure: Figure) -> bool | None:
    """Whether a figure meets its target; ``None`` without target or rows."""
    value = reached(figure)
    return None if figure.target is None or value is None else value <= figure.target


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
        click.echo(verdict(found))
    raise SystemExit(0 if all(holds(figure) for figure in found if figure.target is not None) else 1)


def verdict(found: list[Figure]) -> str:
    """Say which targets are missed, and which no row could test."""
    bound = [figure for figure in found if figure.target is not None]
    missed = [
        f"{figure.name}: {_share(reached(figure))} for {figure.target:.1%}"
        for figure in bound
        if holds(figure) is False
    ]
    empty = [figure.name for figure in bound if holds(figure) is None]
    lines = [f"missed {len(missed)} of {len(bound)} targets" + "".join(f"\n  {text}" for text in missed)]
    return "\n".join([*lines, *([f"no rows for {len(empty)}: {'; '.join(empty)}"] if empty else [])])


def _print(found: list[Figure]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "rows", "median", "p90", "share", "target", "holds", "note")
    for figure in found:
        target = "" if figure.target is None else f"{figure.target:.1%} ({figure.statistic})"
        said = {True: "yes", False: "no", None: "" if figure.target is None else "no rows"}[holds(figure)]
        shares = map(_share, (figure.median, figure.p90, figure.share))
        table.add_row(figure.name, str(figure.count), *shares, target, said, figure.note)
    Console(width=150).print(table)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


if __name__ == "__main__":
    main()
