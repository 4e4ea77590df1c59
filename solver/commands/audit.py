"""`shardproof audit`: whether a hand-written plan is right, and what is wrong in it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  shardproof audit instances/plans/qwen3-235b-handwritten.md
  shardproof audit plan.yaml --instance instances/cases/qwen3-235b-a22b.yaml --json
"""


@click.command(name="audit", epilog=EPILOG)
@click.argument("plan", type=click.Path())
@click.option("--instance", type=click.Path(), help="The question; without it, the document's own sections are it.")
@click.option("--completion/--no-completion", default=True, help="Search the best completion of the stated parts.")
@click.option("--all", "every", is_flag=True, help="List every claim, also those that hold.")
@click.option("--time-limit", type=float, default=60.0, show_default=True, help="Seconds for the completion.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def command(plan: str, **flags: Any) -> int:
    """Judge every claim of PLAN: a Markdown document, YAML, JSON, or an engine's command line.

    Exit codes: 0 nothing wrong, 4 a claim or a constraint fails, 2 bad input.
    """
    from dataclasses import replace

    from shardproof.instances.instance import load_instance
    from shardproof.solver.audit.audit import audit_document
    from shardproof.solver.documents.reader import read_document

    instance = load_instance(Path(flags["instance"])) if flags["instance"] else None
    audit = audit_document(read_document(Path(plan)), instance)
    if flags["completion"]:
        from shardproof.solver.audit.completion import complete

        claims, completion = complete(audit.context, audit.claims, time_limit_s=flags["time_limit"])
        audit = replace(audit, claims=claims, completion=completion)
    if flags["as_json"]:
        click.echo(json.dumps(audit.to_json(), indent=2))
    else:
        from shardproof.solver.audit.render import render_audit

        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        click.echo(render_audit(audit, colour=colour, every=flags["every"]), color=colour)
    return audit.exit_code
