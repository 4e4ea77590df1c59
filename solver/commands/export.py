"""`shardproof export`: a plan as the files with which a target runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shardproof.solver.commands.instance_options import instance_options
from shardproof.solver.commands.parameters import FOLDER, Verb
from shardproof.solver.commands.printing import show, tell
from shardproof.solver.commands.progress import watched


@click.command(name="export", cls=Verb)
@click.argument("plan", type=click.Path())
@click.option("--instance", "-i", type=click.Path(), help="Instance file that the plan answers.")
@click.option(
    "--to",
    "to",
    required=True,
    metavar="TARGET",
    help="vllm, sglang, trtllm, docker-compose, kubernetes, slurm, kserve, dynamo, llm-d, production-stack, ray-serve.",
)
@click.option("-o", "--output", type=FOLDER, required=True, metavar="DIR", help="Folder of the files.")
@instance_options
def command(plan: str, instance: str | None, to: str, output: Path, **fields: Any) -> None:
    """Write a plan as the files with which a target runs it, or say why the target cannot.

    \b
    Examples:
      shardproof export plan.yaml -i case.yaml --to kubernetes -o deploy/
      shardproof export plan.yaml -i case.yaml --to vllm -o scripts/
    """
    from shardproof.solver.api.exported import export

    with watched("export"):
        found = export(plan, instance, to=to, **fields)
    found.write(output)
    for name in found.files:
        show(str(output / name))
    if found.export.note is not None:
        tell(f"note: {found.export.note}")
