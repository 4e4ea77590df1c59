"""`shardproof schema`: the JSON Schema of instance and plan files, for editors."""

from __future__ import annotations

import importlib
import json
from typing import Any

import click

_WHERE = {
    "instance": ("shardproof.instances.instance", "InstanceFile"),
    "plan": ("shardproof.instances.plan", "Plan"),
    "device": ("shardproof.instances.hardware", "Device"),
    "model": ("shardproof.instances.model", "Model"),
    "result": ("shardproof.solver.result_schema", "ResultDocument"),
}


@click.command(name="schema")
@click.argument("document", type=click.Choice(list(_WHERE)), default="instance")
def command(document: str) -> int:
    """Print the JSON Schema of a document.

    \b
    Example:
      shardproof schema instance > instance.schema.json
    """
    click.echo(json.dumps(_schema(document), indent=2))
    return 0


def _schema(document: str) -> dict[str, Any]:
    module, name = _WHERE[document]
    schema: dict[str, Any] = getattr(importlib.import_module(module), name).model_json_schema()
    return schema
