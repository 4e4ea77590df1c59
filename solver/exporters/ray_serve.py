"""Ray Serve: a RayService whose application serves the model with vLLM.

Sources: KubeRay's RayService (ray.io/v1) and Ray Serve's LLM application
(``ray.serve.llm:build_openai_app``, ``llm_configs``, ``engine_kwargs`` named as vLLM's flags).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from shardproof.solver.exporters.apart import refuse_apart
from shardproof.solver.exporters.images import resource_of
from shardproof.solver.exporters.pods import pod
from shardproof.solver.exporters.text import alone, cannot, to_yaml
from shardproof.solver.exporters.units import Unit, flags_of

TARGET = "ray-serve"
IMAGE = "rayproject/ray-llm:2.60.0-py311-cu128"
"""Ray's image holds one version of vLLM."""


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return the service with its cluster: one worker pod for each node of each replica."""
    refuse_apart(units, TARGET)
    unit = alone(units, TARGET, "replicas of its deployments are alike, and its router takes no weights")
    if unit.engine != "vllm":
        raise cannot(TARGET, f"its LLM application starts vLLM, the plan is for {unit.engine}", field="engine")
    if unit.told.option.attn_dp > 1:
        raise cannot(TARGET, "build_openai_app starts no data-parallel attention", field="stages")
    if unit.device.vendor != "NVIDIA":
        raise cannot(TARGET, f"its image is for NVIDIA devices, not for {unit.device.name}", field="device")
    spec = {"serveConfigV2": to_yaml({"applications": [_application(unit)]}), "rayClusterConfig": _cluster(unit)}
    head = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": unit.name}}
    return {f"{unit.name}.yaml": to_yaml({**head, "spec": spec})}


def _application(unit: Unit) -> dict[str, Any]:
    config: dict[str, Any] = {
        "model_loading_config": {"model_id": unit.model, "model_source": unit.model},
        "engine_kwargs": _arguments(unit),
        "deployment_config": {"num_replicas": unit.replicas, "max_ongoing_requests": _ongoing(unit)},
    }
    environment = dict(unit.processes[0].environment)
    if environment:
        config["runtime_env"] = {"env_vars": environment}
    arguments = {"llm_configs": [config]}
    return {
        "name": unit.name,
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": arguments,
    }


def _ongoing(unit: Unit) -> int:
    """Requests that one replica is handed: all that it runs, and as many that wait."""
    return 2 * unit.told.launch.sequences


def _arguments(unit: Unit) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for flag, value in flags_of(unit.alone()):
        if flag not in ("--host", "--port"):
            found[flag.lstrip("-").replace("-", "_")] = True if value is None else _argument(value)
    return found


def _argument(text: str) -> Any:
    """Return the value of a flag as the engine's own class takes it: JSON as a mapping, numbers as such."""
    if text.startswith("{"):
        return json.loads(text)
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _cluster(unit: Unit) -> dict[str, Any]:
    resource_of(unit, TARGET)
    spec = pod(unit, unit.processes[0], TARGET, probes=False)
    kept = ("env", "resources", "volumeMounts")
    worker = {"name": "ray-worker", "image": IMAGE} | {key: spec["containers"][0][key] for key in kept}
    count = unit.replicas * unit.nodes
    group = {"groupName": "gpus", "replicas": count, "minReplicas": count, "maxReplicas": count, "rayStartParams": {}}
    head = {"name": "ray-head", "image": IMAGE, "ports": [{"name": "serve", "containerPort": 8000}]}
    return {
        "headGroupSpec": {
            "rayStartParams": {"num-gpus": "0"},
            "template": {"spec": {"containers": [head]}},
        },
        "workerGroupSpecs": [group | {"template": {"spec": spec | {"containers": [worker]}}}],
    }
