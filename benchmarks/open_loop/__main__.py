"""Measure open loops: ``python -m benchmarks.open_loop speed|formulas|rates|soundness [--json]``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

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


@application.command()
@click.option("--count", type=int, default=100, show_default=True, help="Random questions.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--trace", "traces", type=click.Path(exists=True, path_type=Path), multiple=True, help="A trace besides.")
@click.option("--rows", type=click.File("w", lazy=False), help="Write one JSON line per figure here.")
@click.option("--json", "as_json", is_flag=True)
def formulas(count: int, seed: int, traces: tuple[Path, ...], rows: TextIO | None, *, as_json: bool) -> None:
    """Hold percentiles by formula against the simulator."""
    from benchmarks.open_loop.formulas import measure, on_traces, summary

    found = list(_written(measure(count, seed=seed), rows))
    document: dict[str, Any] = {"random": summary(found)}
    for row in _written(on_traces(list(traces)), rows):
        document.setdefault("traces", []).append(f"{row.name}: {row.figure} p{row.percent} {row.ratio:.2f}")
    finish("open loop: formulas", document, as_json=as_json)


@application.command()
@click.option("--count", type=int, default=30, show_default=True, help="Random questions.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--rows", type=click.File("w", lazy=False), help="Write one JSON line per question here.")
@click.option("--json", "as_json", is_flag=True)
def rates(count: int, seed: int, rows: TextIO | None, *, as_json: bool) -> None:
    """Play plans at their rate and at 1.3 times of it, with arrivals that the planner has not seen."""
    from benchmarks.open_loop.rates import measure, summary

    finish("open loop: rates", summary(list(_written(measure(count, seed=seed), rows))), as_json=as_json)


@application.command()
@click.option("--count", type=int, default=100, show_default=True, help="Random questions.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def soundness(count: int, seed: int, *, as_json: bool) -> None:
    """Play counts of replicas that the bound refutes: none may keep its limits."""
    from benchmarks.open_loop.soundness import measure, summary

    finish("open loop: soundness", summary(list(measure(count, seed=seed))), as_json=as_json)


def _written(found: Iterable[Any], rows: TextIO | None) -> Iterator[Any]:
    """Pass rows on, written down as they come."""
    for row in found:
        if rows is not None:
            rows.write(json.dumps(asdict(row)) + "\n")
            rows.flush()
        yield row


if __name__ == "__main__":
    application()
