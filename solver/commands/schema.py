"""`shardproof schema`: the JSON Schema of instance and plan files, for editors."""

from __future__ import annotations

import json

import click

from shardproof.solver.api.schemas import SCHEMAS, schema
from shardproof.solver.commands.parameters import Verb


@click.command(name="schema", cls=Verb)
@click.argument("document", type=click.Choice(list(SCHEMAS)), default="instance")
def command(document: str) -> int:
    """Print the JSON Schema of a document.

    \b
    Example:
      shardproof schema instance > instance.schema.json
    """
    click.echo(json.dumps(schema(document), indent=2))
    return 0
