"""`shardproof schema`: the JSON Schema of instance and plan files, for editors."""

from __future__ import annotations

import json

import click


@click.command(name="schema")
@click.argument("document", type=click.Choice(["instance", "plan", "device", "model", "result"]), default="instance")
def command(document: str) -> int:
    """Print the JSON Schema of a document.

    \b
    Example:
      shardproof schema instance > instance.schema.json
    """
    click.echo(json.dumps(_schema(document), indent=2))
    return 0


def _schema(document: str) -> dict[str, object]:
    if document == "instance":
        from instances.instance import InstanceFile

        return InstanceFile.model_json_schema()
    if document == "plan":
        from instances.plan import Plan

        return Plan.model_json_schema()
    if document == "device":
        from instances.hardware import Device

        return Device.model_json_schema()
    if document == "model":
        from instances.model import Model

        return Model.model_json_schema()
    from solver.result import result_schema

    return result_schema()
