"""`shardproof sensitivity`: how far inputs may worsen before the answer changes."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.instance_options import instance_from, instance_options

if TYPE_CHECKING:
    from shardproof.instances.instance import Instance
    from shardproof.solver.analysis.sensitivity import Input, Slack, Step
    from shardproof.solver.result import Result


@click.command(name="sensitivity")
@click.argument("instance", required=False)
@instance_options
@click.option("--only", multiple=True, help="Look only at inputs whose name contains this; may be repeated.")
@click.option("--plot", type=click.Path(), help="Draw GPUs against TTFT limit and batch size here (*.png, *.svg).")
@click.option("--points", type=int, default=9, show_default=True, help="Points of each curve.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(instance: str | None, only: tuple[str, ...], plot: str | None, points: int, **flags: Any) -> int:
    """Say how far each input may worsen before this plan breaks, and before more GPUs are needed.

    Every value is exact: found by bisection over proven decisions. With --margin, say also what it costs.

    \b
    Examples:
      shardproof sensitivity instances/cases/qwen3-235b-a22b.yaml --only ttft --only mfu
      shardproof sensitivity instances/cases/qwen3-235b-a22b.yaml --margin 15% --plot curves.svg
    """
    from shardproof.solver.analysis.sensitivity import inputs_of, slack_of
    from shardproof.solver.solve import solve

    question = instance_from(instance, flags)
    result = solve(question)
    if result.plan is None or result.gpus is None:
        click.echo(_no_plan(result, as_json=flags["as_json"]))
        return result.exit_code
    chosen = [item for item in inputs_of(question) if not only or any(part in item.name for part in only)]
    slacks = []
    for place, item in enumerate(chosen):
        _progress(f"{place + 1} of {len(chosen)}: {item.name}")
        slacks.append(slack_of(item, result.plan, result.gpus))
    curves = {item.name: _curve(item, points) for item in inputs_of(question) if plot and _drawn(item)}
    _progress("")
    if plot:
        _draw(Path(plot), curves, question)
    document = {
        "gpus": result.gpus,
        "proof": result.proof,
        "inputs": [asdict(slack) for slack in slacks],
        "curves": {name: [asdict(step) for step in steps] for name, steps in curves.items()},
        "margin": _margin(question, result),
    }
    if flags["as_json"]:
        click.echo(json.dumps(document))
    else:
        _show(result.gpus, slacks, curves, document["margin"])
    return 0


def _no_plan(result: Result, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"gpus": None, "status": result.status, "inputs": [], "curves": {}, "margin": None})
    return f"no plan to worsen: {result.status}; `shardproof explain` says why"


def _progress(text: str) -> None:
    import sys

    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{text}", err=True, nl=False)


def _drawn(item: Input) -> bool:
    return item.name.startswith(("ttft limit", "batch_size", "concurrency"))


def _curve(item: Input, points: int) -> tuple[Step, ...]:
    from shardproof.solver.analysis.sensitivity import around, curve

    _progress(f"curve: {item.name}")
    return curve(item, around(item.value, points=points))


def _margin(question: Instance, result: Result) -> dict[str, Any] | None:
    """GPUs with the instance's margin and without it."""
    from shardproof.formulations.deployment.build import Deployment
    from shardproof.solver.analysis.limiting import fewest_gpus
    from shardproof.solver.analysis.sensitivity import with_margin

    if not question.margin:
        return None
    without = fewest_gpus(Deployment(with_margin(question, Fraction(0))))
    return {"margin": str(question.margin), "gpus": result.gpus, "gpus_without": without}


def _show(gpus: int, slacks: list[Slack], curves: dict[str, tuple[Step, ...]], margin: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    title = f"How far inputs may worsen; the plan has {gpus} GPU{'s' if gpus > 1 else ''}"
    table = Table(title=title, title_justify="left")
    for name in ("input", "now", "this plan holds until", f"{gpus} GPUs suffice until", "beyond it"):
        table.add_column(name, justify="left" if name in ("input", "beyond it") else "right", overflow="fold")
    for slack in slacks:
        beyond = _beyond(slack)
        ends = [_ended(value, slack) for value in (slack.plan_until, slack.optimum_until)]
        table.add_row(slack.name, _written(slack.value, slack.unit), *ends, beyond)
    console.print(table)
    for name, steps in curves.items():
        shown = ", ".join(f"{step.value}: {_gpus_of(step)}" for step in steps)
        console.print(f"{name}: GPUs needed (value: GPUs, as proven) {shown}")
    if margin is not None:
        share = float(Fraction(margin["margin"]))
        extra = gpus - (margin["gpus_without"] or gpus)
        console.print(f"margin {share:.0%}: {gpus} GPUs, {extra} more than without ({margin['gpus_without']})")


def _beyond(slack: Slack) -> str:
    if slack.optimum_until is None:
        return "-"
    if slack.refuted_beyond is None:
        return "open (rounding)"
    between = abs(slack.refuted_beyond - slack.optimum_until)
    return "refuted" if between == 0 else f"refuted after {between} more {slack.unit}"


def _gpus_of(step: Step) -> str:
    if step.gpus is None:
        return "no plan"
    return str(step.gpus) if step.bound == step.gpus else f"{step.bound}..{step.gpus}"


def _written(value: int, unit: str) -> str:
    from shardproof.instances.units import format_bytes, format_duration

    if unit == "ns":
        return format_duration(value)
    if unit == "millionths":
        return f"{value / 10_000:.4f}%"
    if unit.startswith("bytes"):
        return format_bytes(value) + unit.removeprefix("bytes")
    return f"{value:,}"


def _ended(value: int | None, slack: Slack) -> str:
    if value is None:
        return "no end found"
    change = (value - slack.value) / slack.value
    return f"{_written(value, slack.unit)} ({change:+.1%})"


def _draw(path: Path, curves: dict[str, tuple[Step, ...]], question: Instance) -> None:
    """Draw each curve as steps of proven values; points without a plan are left out."""
    from shardproof.instances.errors import InputError

    if path.suffix not in (".png", ".svg"):
        raise InputError(f"{path}: a plot is written as *.png or *.svg")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'shardproof[plot]'") from None
    figure = Figure(figsize=(5 * max(1, len(curves)), 4), layout="constrained")
    for place, (name, steps) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), place + 1)
        points = [(step.value, step.gpus) for step in steps if step.gpus is not None]
        scale = 1e9 if name.startswith("ttft") else 1
        axes.plot([value / scale for value, _ in points], [gpus for _, gpus in points], "o", color="tab:blue")
        axes.set_xscale("log")
        axes.set_xlabel(f"{name} [s]" if scale > 1 else name)
        axes.set_ylabel("fewest GPUs (proven)")
        axes.grid(visible=True, alpha=0.3)
    figure.suptitle(f"{question.model.name} on {question.device.name}")
    figure.savefig(path)
