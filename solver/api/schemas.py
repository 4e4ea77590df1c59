"""`schema`: the JSON Schema of each document, for editors and other programs."""

from __future__ import annotations

import importlib
from typing import Any

from shardproof.instances.errors import InputError

SCHEMAS = {
    "instance": ("shardproof.instances.instance", "InstanceFile"),
    "pools": ("shardproof.instances.pools", "PoolsFile"),
    "plan": ("shardproof.instances.plan", "Plan"),
    "fleet-plan": ("shardproof.instances.fleet_plan", "FleetPlan"),
    "device": ("shardproof.instances.hardware", "Device"),
    "model": ("shardproof.instances.model", "Model"),
    "result": ("shardproof.solver.result", "ResultDocument"),
    "fleet-result": ("shardproof.solver.pools.result", "FleetDocument"),
}
"""Module and record of each document."""


def schema(document: str = "instance") -> dict[str, Any]:
    """Return the JSON Schema of a document: ``instance``, ``pools`` (what only a file about pools says), ``plan`` ...

    Raises
    ------
    InputError
        If there is no such document.
    """
    if document not in SCHEMAS:
        raise InputError(f"schema: {document}: no such document; known: {', '.join(SCHEMAS)}")
    module, name = SCHEMAS[document]
    found: dict[str, Any] = getattr(importlib.import_module(module), name).model_json_schema()
    return found
