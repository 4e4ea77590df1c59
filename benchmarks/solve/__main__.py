"""Measure the solver: ``python -m benchmarks.solve main|catalogue|thousand-layers|growth|formulations [--json]``."""

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


def finish(title: str, document: dict[str, Any], *, as_json: bool) -> None:
    """Print a document with the machine it was measured on."""
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

    finish("main", summary(measure(count=pairs)), as_json=as_json)


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
    finish("catalogue", summary(found), as_json=as_json)


@application.command("thousand-layers")
@click.option("--seed", "seeds", type=int, multiple=True, default=(0, 1, 2), show_default=True)
@click.option("--ttft", "ttfts", type=float, multiple=True, default=(12.0, 6.0), show_default=True, help="Seconds.")
@click.option("--time-limit", type=float, default=60.0, show_default=True, help="Seconds per search.")
@click.option("--json", "as_json", is_flag=True)
def thousand_layers(seeds: tuple[int, ...], ttfts: tuple[float, ...], time_limit: float, *, as_json: bool) -> None:
    """Search synthetic models of a thousand layers on up to 1,024 GPUs."""
    from benchmarks.solve.thousand_layers import Shape, measure

    shapes = [Shape(seed=seed, ttft_ns=round(ttft * 10**9)) for ttft in ttfts for seed in seeds]
    runs = [measure(shape, time_limit_s=time_limit) for shape in shapes]
    finish("thousand-layers", {"runs": runs}, as_json=as_json)


@application.command()
@click.argument("series", nargs=-1, type=click.Choice(["layers", "gpus", "scenarios"]))
@click.option("--time-limit", type=float, default=120.0, show_default=True, help="Seconds per search.")
@click.option("--json", "as_json", is_flag=True)
def growth(series: tuple[str, ...], time_limit: float, *, as_json: bool) -> None:
    """Measure how processor time grows with layers, GPUs and scenarios (SERIES: all of them)."""
    from benchmarks.solve.growth import SERIES, document, points

    found = []
    for point in points(series or tuple(SERIES), time_limit):
        found.append(point)
        click.echo(f"{point['series']} {point['size']}  {point['cpu_s']:.2f} s  {point['stop_reason']}", err=True)
    finish("growth", document(found), as_json=as_json)


@application.command()
@click.option("--time-limit", type=float, default=60.0, show_default=True, help="Seconds per formulation.")
@click.option("--workers", type=int, default=1, show_default=True)
@click.option("--only", help="Only instances whose name contains this.")
@click.option("--json", "as_json", is_flag=True)
def formulations(time_limit: float, workers: int, only: str | None, *, as_json: bool) -> None:
    """Hold our search against CP-SAT and HiGHS on the same rows and against one Boolean per layer."""
    from benchmarks.solve.formulations import compare, document, instances

    runs = []
    for instance in instances():
        if only is None or only in instance.name:
            for run in compare(instance, time_limit_s=time_limit, workers=workers):
                runs.append(run)
                click.echo(f"{run.case}  {run.formulation}  {run.gpus} / {run.bound}", err=True)
    finish("formulations", document(runs), as_json=as_json)


if __name__ == "__main__":
    application()
