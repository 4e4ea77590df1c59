"""`schema`: the JSON Schema of each document, for editors and other programs."""

from __future__ import annotations

import importlib
from typing import Any

from shardproof.instances.errors import InputError

SCHEMAS = {
    "instance": ("shardproof.instances.instance", "InstanceFile"),
    "plan": ("shardproof.instances.plan", "Plan"),
    "device": ("shardproof.instances.hardware", "Device"),
    "model": ("shardproof.instances.model", "Model"),
    "result": ("shardproof.solver.result", "ResultDocument"),
}
"""Module and record of each document."""


def schema(document: str = "instance") -> dict[str, Any]:
    """Return the JSON Schema of a document: ``instance``, ``plan``, ``device``, ``model`` or ``result``.

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
