"""Measure the solver: ``python -m benchmarks.solve main|catalogue|thousand-layers|formulations [--json]``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, TextIO

import click

from benchmarks.solve.timing import machine


@click.group()
def application() -> None:
    """Measure the solver; every document says on which machine and under which load."""


def _finish(title: str, document: dict[str, Any], *, as_json: bool) -> None:
    whole = {"benchmark": title, "machine": asdict(machine()), **document}
    click.echo(json.dumps(whole, indent=2) if as_json else "\n".join(_lines(whole, "")))


def _lines(value: Any, indent: str) -> Iterator[str]:
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (dict, list, tuple)) and item:
            yield f"{indent}{key}"
            yield from _lines(item, indent + "  ")
        else:
            yield f"{indent}{key}  {format(item, '.3f') if isinstance(item, float) else item}"


@application.command()
@click.option("--pairs", type=int, default=9, show_default=True, help="Runs of each process.")
@click.option("--json", "as_json", is_flag=True)
def main(pairs: int, *, as_json: bool) -> None:
    """Time the whole solve process of the main case against the import of CP-SAT."""
    from benchmarks.solve.main_case import measure, summary

    _finish("main", summary(measure(count=pairs)), as_json=as_json)


@application.command()
@click.option("--every", type=int, default=1, show_default=True, help="Only each n-th pair.")
@click.option("--model", "models", multiple=True, help="Only this model (repeatable).")
@click.option("--device", "devices", multiple=True, help="Only this device (repeatable).")
@click.option("--time-limit", type=float, help="Seconds per pair.")
@click.option("--rows", type=click.File("w", lazy=False), help="Write one JSON line per pair here.")
@click.option("--json", "as_json", is_flag=True)
def catalogue(
    every: int,
    models: tuple[str, ...],
    devices: tuple[str, ...],
    time_limit: float | None,
    rows: TextIO | None,
    *,
    as_json: bool,
) -> None:
    """Solve, certify and check every catalogue model on every catalogue device."""
    from benchmarks.solve.catalogue import measure, pairs, summary

    found = []
    for row in measure(pairs(every=every, models=models, devices=devices), time_limit_s=time_limit):
        found.append(row)
        if rows is not None:
            rows.write(json.dumps(asdict(row)) + "\n")
            rows.flush()
    _finish("catalogue", summary(found), as_json=as_json)


if __name__ == "__main__":
    application()
