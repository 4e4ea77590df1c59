"""Schemas of what exports write, recorded from the projects' own: fields, types, choices, what is required.

A field that exports write and the project does not know is an error: the project dropped it, or it was never there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.oracles.consumers import CHARTS, KINDS, SCHEMAS

SOURCES = {
    "lws": "kubernetes-sigs/lws config/crd/bases/leaderworkerset.x-k8s.io_leaderworkersets.yaml",
    "llmisvc": "kserve/kserve config/crd/full/llmisvc/serving.kserve.io_llminferenceservices.yaml",
    "rayservice": "ray-project/kuberay ray-operator/config/crd/bases/ray.io_rayservices.yaml",
    "httproute": "kubernetes-sigs/gateway-api config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    "llm-d": "llm-d-incubation/llm-d-modelservice charts/llm-d-modelservice/values.schema.json",
    "production-stack": "vllm-project/production-stack helm/values.schema.json",
}
"""Repository and path of each; that of Dynamo is kept by hand from its Go types, its file is 1.5 MB."""

_KEPT = ("type", "enum", "required", "minimum", "maximum", "minLength", "maxLength", "pattern", "const", "minItems")


def record(name: str, source: Path, written: Sequence[Any], commit: str) -> None:
    """Write the part of a project's schema that exports use.

    Raises
    ------
    ValueError
        If exports write a field that the project does not know.
    """
    tree = yaml.load(source.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    whole = tree if "spec" not in tree or "properties" in tree else _stored(tree, name)
    held = {"source": f"{SOURCES[name]} at {commit}", "schema": _pruned(whole, written, name)}
    (SCHEMAS / f"{name}.json").write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def _stored(tree: Any, name: str) -> Any:
    """The schema of the version that exports write."""
    wanted = next(version.rpartition("/")[2] for (version, _), known in KINDS.items() if known == name)
    return next(one["schema"]["openAPIV3Schema"] for one in tree["spec"]["versions"] if one["name"] == wanted)


def _pruned(schema: Any, written: Sequence[Any], where: str) -> dict[str, Any]:
    kept: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    trees = [one for one in written if isinstance(one, dict)]
    if trees and "properties" in schema:
        kept |= _fields(schema, trees, where)
    elif trees and isinstance(schema.get("additionalProperties"), dict):
        inner = [value for one in trees for value in one.values()]
        kept["additionalProperties"] = _pruned(schema["additionalProperties"], inner, f"{where}.*")
    items = [value for one in written if isinstance(one, list) for value in one]
    if items and isinstance(schema.get("items"), dict):
        kept["items"] = _pruned(schema["items"], items, f"{where}[]")
    for key in ("anyOf", "oneOf"):
        branches = [one for one in schema.get(key, ()) if _takes(one)]
        if branches and "type" not in kept:
            kept[key] = [_loosely(one, written, where) for one in branches]
    return kept


def _fields(schema: Any, trees: Sequence[dict[str, Any]], where: str) -> dict[str, Any]:
    seen = sorted({key for one in trees for key in one})
    known = schema["properties"]
    open_ = schema.get("x-kubernetes-preserve-unknown-fields", False)
    found = {}
    for key in seen:
        if key in known:
            found[key] = _pruned(known[key], [one[key] for one in trees if key in one], f"{where}.{key}")
        elif not open_:
            raise ValueError(f"{where}.{key}: the project knows no such field")
    if where.count(".") == 0:
        found |= {key: {"type": "string"} for key in ("apiVersion", "kind") if key in seen}
    return {"properties": found, "additionalProperties": bool(open_)}


def _takes(schema: Any) -> bool:
    return isinstance(schema, dict) and bool({"type", "properties", "enum", "const", "items"} & set(schema))


def _loosely(schema: Any, written: Sequence[Any], where: str) -> dict[str, Any]:
    """One of several branches: it need not know every field."""
    try:
        return _pruned(schema, written, where)
    except ValueError:
        return {key: schema[key] for key in _KEPT if key in schema} | {"not": {}}


def documents(files: Iterable[tuple[str, str]]) -> dict[str, list[Any]]:
    """Return what exports write of each custom resource and chart."""
    found: dict[str, list[Any]] = {name: [] for name in (*SOURCES, "dynamo", "disaggregated")}
    for name, text in files:
        if name.endswith(".yaml") and not name.endswith("config.yaml"):
            for tree in yaml.safe_load_all(text):
                kind = KINDS.get((tree.get("apiVersion"), tree.get("kind")))
                kind = kind or next((CHARTS[key] for key in CHARTS if key in tree), None)
                if kind is not None:
                    found[kind].append(tree)
    return found
