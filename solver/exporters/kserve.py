"""KServe: an LLMInferenceService (serving.kserve.io/v1alpha2), pods of one node or groups of pods.

Source: the resource's schema (kserve v0.20): ``parallelism{tensor, pipeline, data, dataLocal, dataRPCPort,
expert}``, ``template`` (the leader) and ``worker``, whose number follows from the parallelism.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardproof.solver.exporters.kubernetes import leader_and_worker
from shardproof.solver.exporters.pods import pod
from shardproof.solver.exporters.text import alone, cannot, to_yaml
from shardproof.solver.exporters.units import Unit

TARGET = "kserve"


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return the service."""
    unit = alone(
        units, TARGET, "each LLMInferenceService routes by itself, and nothing in it weighs one against another"
    )
    if unit.engine != "vllm":
        raise cannot(TARGET, f"LLMInferenceService starts vLLM, the plan is for {unit.engine}", field="engine")
    _check_nodes(unit)
    name = unit.model.lower() if "/" not in unit.model else unit.model
    spec: dict[str, Any] = {"model": {"uri": f"hf://{unit.model}", "name": name}, "replicas": unit.replicas}
    spec["parallelism"] = _parallelism(unit)
    if unit.nodes == 1:
        spec["template"] = _pod(pod(unit, unit.processes[0], TARGET))
    else:
        leader, worker = leader_and_worker(unit, TARGET)
        spec["template"] = _pod(pod(unit, leader, TARGET, shell=True))
        spec["worker"] = _pod(pod(unit, worker, TARGET, probes=False, shell=True))
    spec["router"] = {"route": {}, "gateway": {}, "scheduler": {}}
    head = {"apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService"}
    return {f"{unit.name}.yaml": to_yaml({**head, "metadata": {"name": unit.name}, "spec": spec})}


def _check_nodes(unit: Unit) -> None:
    """Refuse replicas whose nodes are neither stages nor shares of data parallelism."""
    option = unit.told.option
    by_stage = unit.told.stages == unit.nodes and option.attn_dp == 1
    by_data = unit.told.stages == 1 and option.attn_dp % unit.nodes == 0
    if unit.nodes > 1 and not (by_stage or by_data):
        reason = "pods of a replica are stages or shares of data parallelism, here tensor parallelism spans nodes"
        raise cannot(TARGET, reason, field="stages")
    if unit.told.stages > 1 and option.attn_dp > 1:
        raise cannot(TARGET, "it takes pipeline or data parallelism, not both", field="stages")


def _parallelism(unit: Unit) -> dict[str, Any]:
    option = unit.told.option
    found: dict[str, Any] = {"tensor": option.attn_tp}
    if unit.told.stages > 1:
        found["pipeline"] = unit.told.stages
    if option.attn_dp > 1:
        found |= {"data": option.attn_dp, "dataLocal": option.attn_dp // unit.nodes, "dataRPCPort": 13345}
    return found | ({"expert": True} if option.moe_ep > 1 else {})


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    """The container must be called main; probes speak plain HTTP, as the command does."""
    container = spec["containers"][0] | {"name": "main"}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe in container:
            get = {"path": "/health", "port": "http", "scheme": "HTTP"}
            container[probe] = container[probe] | {"httpGet": get}
    return spec | {"containers": [container]}
