"""`shardproof simulate`: a plan in service, played event by event."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import PLOT, Verb
from shardproof.solver.commands.printing import print_json
from shardproof.solver.commands.progress import watched

if TYPE_CHECKING:
    from shardproof.solver.simulation.outcome import Outcome

EPILOG = """\b
Examples:
  shardproof simulate plan.yaml -i case.yaml --request-rate 20
  shardproof simulate plan.yaml -i case.yaml --trace azure-2023-conv.csv \\
    --good ttft:2s --good tpot:50ms
"""


@click.command(name="simulate", cls=Verb, epilog=EPILOG)
@click.argument("plan", type=click.Path())
@click.option("--instance", "-i", type=click.Path(), help="Instance file that the plan answers.")
@instance_options
@click.option("--num-requests", type=click.IntRange(1, 10**7), help="Requests of one run [default: enough for a p99].")
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Independent runs.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the first run.")
@click.option("--router", type=click.Choice(["random", "round-robin", "least-loaded"]), default="random",
              show_default=True, help="How requests find a replica.")  # fmt: skip
@click.option("--good", multiple=True, help="A limit that a good request keeps, e.g. ttft:2s; may be repeated.")
@click.option("--plot", type=PLOT, help="Draw queue, running requests and cache over time here (PNG, SVG, PDF).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(plan: str, instance: str | None, plot: Path | None, as_json: bool, **fields: Any) -> int:
    """Play a PLAN in service: percentiles of TTFT, TPOT, ITL and end-to-end time, goodput, queue and cache."""
    from shardproof.solver.api.simulated import simulate

    with watched("simulate"):
        found = simulate(plan, instance, **fields)
    if plot:
        found.plot(plot)
    if as_json:
        print_json(found.to_dict())
        return 0
    for one in found.outcomes:
        _show(one)
    return 0


def _show(found: Outcome) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from shardproof.solver.simulation.outcome import FIGURES, QUANTILES

    console = Console(highlight=False)
    runs = f"{len(found.runs)} run{'s' if len(found.runs) > 1 else ''}"
    console.print(Text(f"scenario {found.scenario}: {runs} of {len(found.runs[0].served):,} requests", style="bold"))
    speed = found.throughput()
    console.print(f"{speed['requests_per_s']:.2f} requests/s, {speed['output_tokens_per_s']:,.0f} output tokens/s")
    if found.is_overloaded:
        arrived = found.runs[0].served[-1].request.arrival_ns / 1e9
        rate, waiting = len(found.runs[0].served) / arrived, found.runs[0].waiting(arrived * 1e9)
        told = f"{waiting:,} wait when the last one comes, and times grow with the length of the run"
        line = f"overloaded: {rate:.4g} requests/s arrive, {speed['requests_per_s']:.4g} are answered; {told}"
        console.print(line, style="bold red")
    heads = [Column(head, justify="right", no_wrap=True) for head in ("mean", *(f"p{p}" for p in QUANTILES))]
    table = Table("", *heads, box=None, header_style="bold")
    for name in FIGURES:
        cells = [found.figure(name, at) for at in (None, *QUANTILES)]
        table.add_row(name.upper(), *(_cell(cell.value) for cell in cells))
        if len(found.runs) > 1:
            table.add_row("  +-", *(_cell(cell.high - cell.value) for cell in cells), style="dim")
    console.print(table)
    if len(found.runs) > 1:
        console.print("+-: 95 % confidence over the runs", style="dim")
    if found.limits:
        shares = [run.share_within(found.limits) for run in found.runs]
        least, most = f"{min(shares):.1%}", f"{max(shares):.1%}"
        span = least if least == most else f"{least} to {most}"
        console.print(f"goodput: {span} of requests keep every limit")
    refused, preempted = sum(run.refused for run in found.runs), sum(run.preemptions for run in found.runs)
    if refused:
        console.print(f"refused: {refused} requests are longer than the cache", style="bold red")
    if preempted:
        console.print(f"preempted: {preempted} times a sequence had to make room and was computed anew")


def _cell(value: float) -> str:
    from math import isnan

    from shardproof.instances.units import format_duration

    if isnan(value):  # no request finished
        return "-"
    return format_duration(round(value))
