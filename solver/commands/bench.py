"""`shardproof bench`: the lines that measure a plan as it was planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import FOLDER, Verb
from shardproof.solver.commands.printing import print_json, show


@click.command(name="bench", cls=Verb)
@click.argument("plan", type=click.Path())
@click.option("--instance", "-i", type=click.Path(), help="Instance file that the plan answers.")
@click.option("--tool", type=click.Choice(["vllm", "aiperf", "guidellm", "genai-perf"]), help="Only this one.")
@click.option("--url", default="http://localhost:8000", show_default=True, help="Where the server answers.")
@click.option("-o", "--output", type=FOLDER, metavar="DIR", help="Write scripts and files here.")
@instance_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(
    plan: str, instance: str | None, tool: str | None, url: str, output: Path | None, as_json: bool, **fields: Any
) -> None:
    """Write the lines of benchmark tools that measure a plan: load, lengths, seed, warm-up, goodput.

    \b
    Examples:
      shardproof bench plan.yaml -i case.yaml --tool vllm
      shardproof bench plan.yaml -i case.yaml --url http://router:80 -o bench/
    """
    from shardproof.solver.api.benchmarked import bench

    found = bench(plan, instance, tool=tool, url=url, **fields)
    if output is not None:
        found.write(output)
    print_json(found.to_dict()) if as_json else show(str(found))
