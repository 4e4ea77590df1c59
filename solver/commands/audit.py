"""`shardproof audit`: whether a hand-written plan is right, and what is wrong in it."""

from __future__ import annotations

import os
import sys

import click

from shardproof.solver.commands.parameters import DURATION, Verb
from shardproof.solver.commands.printing import print_json, show
from shardproof.solver.commands.progress import watched

EPILOG = """\b
Examples:
  shardproof audit instances/plans/qwen3-235b-handwritten.md
  shardproof audit deploy/ --json
  shardproof audit "vllm serve Qwen/Qwen3-32B --tensor-parallel-size 3"
  shardproof audit plan.yaml --instance instances/cases/qwen3-235b-a22b.yaml \\
    --json
"""


@click.command(name="audit", cls=Verb, epilog=EPILOG)
@click.argument("plan", type=click.Path())
@click.option("--instance", "-i", type=click.Path(), help="The question; without it, the document's own sections.")
@click.option("--completion/--no-completion", default=True, help="Search the best completion of the stated parts.")
@click.option("--all", "every", is_flag=True, help="List every claim, also those that hold.")
@click.option("--time-limit", type=DURATION, default="60 s", show_default=True, help="Of the completion, with unit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(plan: str, instance: str | None, completion: bool, every: bool, time_limit: float, as_json: bool) -> int:
    """Judge every claim of PLAN: a document, a deployment form, a folder of them, or an engine's command line.

    Exit codes: 0 nothing wrong, 4 a claim or a constraint fails, 2 bad input.
    """
    from shardproof.solver.api.audited import audit

    with watched("audit"):
        found = audit(plan, instance, completion=completion, time_limit=time_limit)
    if as_json:
        print_json(found.to_dict())
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        show(found.text(colour=colour, every=every), colour=colour)
    return found.exit_code
