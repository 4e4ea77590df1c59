"""`shardproof schema`: the JSON Schema of instance and plan files, for editors."""

from __future__ import annotations

import click

from shardproof.solver.api.schemas import SCHEMAS, schema
from shardproof.solver.commands.parameters import Verb
from shardproof.solver.commands.printing import print_json


@click.command(name="schema", cls=Verb)
@click.argument("document", type=click.Choice(list(SCHEMAS)), default="instance")
def command(document: str) -> int:
    """Print the JSON Schema of a document.

    \b
    Example:
      shardproof schema instance > instance.schema.json
    """
    print_json(schema(document))
    return 0
