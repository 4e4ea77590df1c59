"""What consumers accept: exported files held against schemas and validators; each refusal is one line.

``tests/data/schemas`` holds, of each custom resource and chart, the fields that exports write, with types, choices and
what is required (``python -m benchmarks.exports schemas`` records them from the projects' own files, which it names).
Pods and core kinds are held against Kubernetes' schemas by ``kubernetes-validate``, Compose files by ``compose-spec``,
each where it is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema
import yaml

from tests.oracles.places import DATA

SCHEMAS = DATA / "schemas"
KUBERNETES = "1.35"

KINDS = {
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"): "lws",
    ("serving.kserve.io/v1alpha2", "LLMInferenceService"): "llmisvc",
    ("ray.io/v1", "RayService"): "rayservice",
    ("nvidia.com/v1beta1", "DynamoGraphDeployment"): "dynamo",
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): "httproute",
}
CORE = {("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("v1", "Service"), ("v1", "ConfigMap")}
CHARTS = {"servingEngineSpec": "production-stack", "modelArtifacts": "llm-d", "context_servers": "disaggregated"}
ROLES = r"(leader|worker|pod)?[tT]emplate"


@cache
def schema(name: str) -> dict[str, Any]:
    """Return a recorded schema."""
    tree: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return tree["schema"]  # type: ignore[no-any-return]


def has(package: str) -> bool:
    """Whether a validator is installed."""
    return importlib.util.find_spec(package) is not None


def refusals(files: Mapping[str, str]) -> list[str]:
    """Return what consumers refuse of exported files."""
    found = []
    for name, text in files.items():
        if re.search(r"compose[\w-]*\.yaml$", name):
            found += [f"{name}: {why}" for why in _compose(text)]
        elif name.endswith((".yaml", ".yml")) and not name.endswith("config.yaml"):
            found += [f"{name}: {why}" for tree in yaml.safe_load_all(text) for why in _tree(tree)]
        elif name.endswith(".sbatch"):
            found += [f"{name}: {why}" for why in _batch(text)]
    return found


def _tree(tree: Any) -> Iterator[str]:
    kind = (tree.get("apiVersion"), tree.get("kind"))
    chart = next((CHARTS[key] for key in CHARTS if key in tree), None)
    if kind in CORE:
        yield from _core(tree)
    elif kind in KINDS or chart is not None:
        held = schema(KINDS[kind] if kind in KINDS else str(chart))
        for error in jsonschema.Draft202012Validator(held).iter_errors(tree):
            yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for pod in pods(tree):
            yield from _core({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod})
    else:
        yield f"{kind}: is of no kind that is known here"


def pods(tree: Any) -> Iterator[dict[str, Any]]:
    """Return every pod's spec inside a custom resource."""
    if isinstance(tree, dict):
        if isinstance(tree.get("containers"), list) and all("image" in one for one in tree["containers"]):
            known = {"containers", "volumes", "nodeSelector", "initContainers", "tolerations", "affinity"}
            if set(tree) <= known:
                yield tree
                return
        for value in tree.values():
            yield from pods(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from pods(value)


def _core(tree: dict[str, Any]) -> Iterator[str]:
    if not has("kubernetes_validate"):
        return
    validator = importlib.import_module("kubernetes_validate")
    try:
        validator.validate(tree, KUBERNETES, strict=True)
    except validator.ValidationError as error:
        yield f"{tree['kind']}: {str(error.message)[:200]} at {'.'.join(map(str, error.path))}"
    yield from (f"{value!r} is no quantity" for value in _quantities(tree) if not _QUANTITY.fullmatch(str(value)))


_QUANTITY = re.compile(r"\d+(\.\d+)?([munkMGTPE]|[KMGTPE]i)?")


def _quantities(tree: Any) -> Iterator[Any]:
    """Amounts of resources, which the schemas take as any text."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("requests", "limits") and isinstance(value, dict):
                yield from value.values()
            elif key == "sizeLimit":
                yield value
            else:
                yield from _quantities(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _quantities(value)


def _compose(text: str) -> Iterator[str]:
    if not has("compose_spec"):
        return
    try:
        importlib.import_module("compose_spec").PyCompose.from_yaml(text).validate()
    except Exception as error:
        yield str(error)[:200]


_SBATCH = frozenset({"job-name", "array", "nodes", "ntasks-per-node", "gpus-per-node"})
"""Long options of sbatch that jobs write."""


def _batch(text: str) -> Iterator[str]:
    for line in text.splitlines():
        match = re.match(r"#SBATCH --([a-z-]+)=(\S+)$", line)
        if line.startswith("#SBATCH") and (match is None or match[1] not in _SBATCH):
            yield f"{line}: is no option of sbatch that is known here"
