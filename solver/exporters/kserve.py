"""KServe: an LLMInferenceService (serving.kserve.io/v1alpha2), pods of one node or groups of pods.

Source: the resource's schema (kserve v0.20): ``parallelism{tensor, pipeline, data, dataLocal, dataRPCPort,
expert}``, ``template`` (the leader) and ``worker``, whose number follows from the parallelism.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardproof.solver.exporters.apart import is_apart, on_port, pools_of, stem_of
from shardproof.solver.exporters.kubernetes import leader_and_worker
from shardproof.solver.exporters.pods import pod
from shardproof.solver.exporters.text import alone, cannot, to_yaml
from shardproof.solver.exporters.units import Unit

TARGET = "kserve"
BEHIND_PROXY = 8001
"""Port of a decode server behind the sidecar that KServe puts before it where there is a prefill pool."""


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return the service."""
    prefill = None
    if is_apart(units):
        prefill, unit = pools_of(units, TARGET)
    else:
        reason = "each LLMInferenceService routes by itself, and nothing in it weighs one against another"
        unit = alone(units, TARGET, reason)
    if unit.engine != "vllm":
        raise cannot(TARGET, f"LLMInferenceService starts vLLM, the plan is for {unit.engine}", field="engine")
    for one in units:
        _check_nodes(one)
    name = unit.model.lower() if "/" not in unit.model else unit.model
    spec: dict[str, Any] = {"model": {"uri": f"hf://{unit.model}", "name": name}}
    spec |= _workload(unit if prefill is None else on_port(unit, BEHIND_PROXY))
    if prefill is not None:
        spec["prefill"] = _workload(prefill)
    spec["router"] = {"route": {}, "gateway": {}, "scheduler": {}}
    head = {"apiVersion": "serving.kserve.io/v1alpha2", "kind": "LLMInferenceService"}
    whole = stem_of(units)
    return {f"{whole}.yaml": to_yaml({**head, "metadata": {"name": whole}, "spec": spec})}


def _workload(unit: Unit) -> dict[str, Any]:
    """Return replicas, degrees and pods of all, or of one pool."""
    found: dict[str, Any] = {"replicas": unit.replicas, "parallelism": _parallelism(unit)}
    if unit.nodes == 1:
        return found | {"template": _pod(pod(unit, unit.processes[0], TARGET), unit)}
    leader, worker = leader_and_worker(unit, TARGET)
    template = _pod(pod(unit, leader, TARGET, shell=True), unit)
    return found | {"template": template, "worker": _pod(pod(unit, worker, TARGET, probes=False, shell=True), unit)}


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


def _pod(spec: dict[str, Any], unit: Unit) -> dict[str, Any]:
    """The container must be called main; probes speak plain HTTP, as the command does."""
    container = spec["containers"][0] | {"name": "main"}
    if unit.pool == "decode" and "ports" in container:
        container["ports"] = [{"name": "http", "containerPort": BEHIND_PROXY}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe in container:
            get = {"path": "/health", "port": "http", "scheme": "HTTP"}
            container[probe] = container[probe] | {"httpGet": get}
    return spec | {"containers": [container]}
