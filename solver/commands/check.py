"""`shardproof check`: what was measured held against what is predicted of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import WRITABLE, Verb
from shardproof.solver.commands.printing import print_json, say
from shardproof.solver.commands.progress import watched

if TYPE_CHECKING:
    from shardproof.solver.benchmarking.held import Held


@click.command(name="check", cls=Verb)
@click.argument("plan", type=click.Path())
@click.argument("result", type=click.Path(), required=False)
@click.option("--instance", "-i", type=click.Path(), help="Instance file that the plan answers.")
@click.option("--log", type=click.Path(), help="Log of an engine's start, held against its memory account.")
@click.option("--scenario", help="The scenario that was measured; the first without it.")
@click.option("--group", type=click.IntRange(0), default=0, show_default=True, help="Group that wrote the log.")
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Simulated runs.")
@click.option("--output", "-o", type=WRITABLE, help="File of corrections that the result adds its own to.")
@instance_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(
    plan: str, result: str | None, instance: str | None, output: str | None, as_json: bool, **fields: Any
) -> int:
    """Hold a benchmark's result, or an engine's start log, against what is predicted of a plan.

    RESULT is what vllm bench serve, aiperf, GuideLLM or GenAI-Perf wrote, or a benchmark report. Exit code 4: a figure
    lies outside the interval of its prediction. With -o the result becomes a correction of its device, engine and
    model, which other questions take by --calibration or calibrations: and say so.

    \b
    Examples:
      shardproof check plan.yaml main.vllm.json -i case.yaml
      shardproof check plan.yaml --log server.log -i case.yaml
      shardproof check plan.yaml main.vllm.json -i case.yaml -o ours.yaml
      shardproof solve case.yaml --calibration ours.yaml
    """
    from shardproof.solver.api.benchmarked import check

    with watched("check"):
        found = check(plan, result, instance, correct=output is not None, **fields)
    if output is not None:
        found.write(output)
    if as_json:
        print_json(found.to_dict())
    else:
        for part in found.parts:
            _show(part)
        if found.correction is not None:
            say(f"correction written to {output}: {found.correction.words}")
    return found.exit_code


def _show(part: Held) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "at", "predicted", "interval", "measured", "measured / predicted", "", title=part.source)
    for row in part.rows:
        span = "" if row.low is None or row.high is None else f"{row.low:.5g} - {row.high:.5g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = "" if row.verdict == "no interval" else row.verdict
        shown = (f"{row.predicted:.6g} {row.unit}", span, f"{row.measured:.6g} {row.unit}", ratio, verdict)
        table.add_row(row.quantity, row.at, *shown)
    console = Console()
    console.print(table)
    for finding in part.findings:
        console.print(finding, markup=False, highlight=False)
