"""`shardproof sensitivity`: how far inputs may worsen before the answer changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import PLOT, Verb
from shardproof.solver.commands.printing import print_json, say
from shardproof.solver.commands.progress import CLEARED

if TYPE_CHECKING:
    from pathlib import Path

    from shardproof.solver.analysis.sensitivity import Slack, Step
    from shardproof.solver.api.sensitivity import Sensitivity


@click.command(name="sensitivity", cls=Verb)
@click.argument("instance", required=False)
@instance_options
@click.option("--only", multiple=True, help="Look only at inputs whose name contains this; may be repeated.")
@click.option("--plot", type=PLOT, help="Draw GPUs against TTFT limit and batch size here (PNG, SVG, PDF).")
@click.option("--points", type=int, default=9, show_default=True, help="Points of each curve.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(instance: str | None, only: tuple[str, ...], plot: Path | None, points: int, **fields: Any) -> int:
    """Say how far each input may worsen before this plan breaks, and before more GPUs are needed.

    Every value is exact: found by bisection over proven decisions. With --margin, say also what it costs.

    \b
    Examples:
      shardproof sensitivity instances/cases/qwen3-235b-a22b.yaml --only ttft \\
        --only mfu
      shardproof sensitivity instances/cases/qwen3-235b-a22b.yaml --margin 15% \\
        --plot curves.svg
    """
    from shardproof.solver.api.sensitivity import sensitivity

    as_json = fields.pop("as_json")
    found = sensitivity(instance, only=only, curves=bool(plot), points=points, on_progress=_progress, **fields)
    from shardproof.solver.api.sensitivity import Sensitivity

    if plot and isinstance(found, Sensitivity) and found.plan is not None:
        found.plot(plot)
    if as_json:
        print_json(found.to_dict(), indent=None)
    elif not isinstance(found, Sensitivity) or found.gpus is None:
        say(str(found))
    else:
        _show(found.gpus, found)
    return found.exit_code


def _progress(text: str) -> None:
    import sys

    if sys.stderr.isatty():
        click.echo(f"{CLEARED}{text}", err=True, nl=False)


def _show(gpus: int, found: Sensitivity) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    title = f"How far inputs may worsen; the plan has {gpus} GPU{'s' if gpus > 1 else ''}"
    table = Table(title=title, title_justify="left")
    for name in (
        "input",
        "now",
        "this plan holds until",
        "1 GPU suffices until" if gpus == 1 else f"{gpus} GPUs suffice until",
        "beyond it",
    ):
        table.add_column(name, justify="left" if name in ("input", "beyond it") else "right", overflow="fold")
    for slack in found.inputs:
        beyond = _beyond(slack)
        ends = [_ended(value, slack) for value in (slack.plan_until, slack.optimum_until)]
        table.add_row(slack.name, _written(slack.value, slack.unit), *ends, beyond)
    console.print(table)
    for name, steps in (found.curves or {}).items():
        shown = ", ".join(f"{step.value}: {_gpus_of(step)}" for step in steps)
        console.print(f"{name}: GPUs needed (value: GPUs, as proven) {shown}")
    if found.margin is not None:
        without = found.margin.gpus_without
        share, extra = float(found.margin.margin), gpus - (without or gpus)
        console.print(f"margin {share:.0%}: {gpus} GPUs, {extra} more than without ({without})")


def _beyond(slack: Slack) -> str:
    if slack.optimum_until is None:
        return "-"
    if slack.refuted_beyond is None:
        return "open (rounding)"
    between = abs(slack.refuted_beyond - slack.optimum_until)
    counted = slack.unit in ("requests", "tokens")
    more = f"{between:,} more {slack.unit}" if counted else f"{_written(between, slack.unit)} more"
    return "refuted" if between == 0 else f"refuted after {more}"


def _gpus_of(step: Step) -> str:
    if step.gpus is None:
        return "no plan"
    return str(step.gpus) if step.bound == step.gpus else f"{step.bound}..{step.gpus}"


def _written(value: int, unit: str) -> str:
    from shardproof.instances.units import format_bytes, format_duration

    if unit == "ns":
        return format_duration(value)
    if unit == "millionths of a token":
        return f"{value / 1_000_000:.4f}"
    if unit == "millionths":
        return f"{value / 10_000:.6g}%"
    if unit.startswith("bytes"):
        return format_bytes(value) + unit.removeprefix("bytes")
    return f"{value:,}"


def _ended(value: int | None, slack: Slack) -> str:
    if value is None:
        return "no end found"
    change = (value - slack.value) / slack.value
    return f"{_written(value, slack.unit)} ({change:+.1%})"
