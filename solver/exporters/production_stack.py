"""vLLM production-stack: values of its chart, one ``modelSpec``.

Source: the chart's deployment template (vllm-project/production-stack): flags that ``vllmConfig`` has no field for go
through ``extraArgs``; prefix caching is switched off unless it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from shardproof.solver.exporters.apart import refuse_apart
from shardproof.solver.exporters.images import image_of, selector_of
from shardproof.solver.exporters.pods import shared_memory
from shardproof.solver.exporters.text import alone, cannot, to_yaml
from shardproof.solver.exporters.units import Unit, flags_of

TARGET = "production-stack"

FIELDS = {
    "--tensor-parallel-size": "tensorParallelSize",
    "--max-model-len": "maxModelLen",
    "--max-num-seqs": "maxNumSeqs",
    "--gpu-memory-utilization": "gpuMemoryUtilization",
}
"""Flags that the chart has fields for."""

CPUS_BESIDE_GPUS = 2
MEMORY_PER_GPU_GIB = 16
"""What a pod asks of its host: a core for each worker and two for the servers; room to load weights through."""


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return the values of one release."""
    refuse_apart(units, TARGET)
    unit = alone(units, TARGET, "its router goes round or by session, and takes no weights of replicas")
    if unit.engine != "vllm":
        raise cannot(TARGET, f"it starts vLLM, the plan is for {unit.engine}", field="engine")
    if unit.nodes > 1:
        reason = (
            "its chart spans nodes by a Ray cluster of one copy and tells no ranks; export to kubernetes or ray-serve"
        )
        raise cannot(TARGET, reason, field="stages")
    probe = {"initialDelaySeconds": 15, "periodSeconds": 10, "failureThreshold": 360}
    engine = {"startupProbe": probe | {"httpGet": {"path": "/health", "port": 8000}}, "modelSpec": [_spec(unit)]}
    return {f"{unit.name}.values.yaml": to_yaml({"servingEngineSpec": engine})}


def _spec(unit: Unit) -> dict[str, Any]:
    repository, _, tag = image_of(unit, TARGET).rpartition(":")
    found: dict[str, Any] = {
        "name": unit.name,
        "repository": repository,
        "tag": tag,
        "modelURL": unit.model,
        "replicaCount": unit.replicas,
        "requestCPU": unit.gpus_per_node + CPUS_BESIDE_GPUS,
        "requestMemory": f"{MEMORY_PER_GPU_GIB * unit.gpus_per_node}Gi",
        "requestGPU": unit.gpus_per_node,
        "shmSize": shared_memory(unit),
        "vllmConfig": _config(unit),
    }
    environment = unit.processes[0].environment
    if environment:
        found["env"] = [{"name": key, "value": value} for key, value in environment.items()]
    terms = [{"key": key, "operator": "In", "values": [value]} for key, value in selector_of(unit).items()]
    return found | ({"nodeSelectorTerms": [{"matchExpressions": terms}]} if terms else {})


def _config(unit: Unit) -> dict[str, Any]:
    config: dict[str, Any] = {"enablePrefixCaching": True, "enableChunkedPrefill": True}
    extra: list[str] = []
    for flag, value in flags_of(unit.processes[0]):
        if flag in FIELDS and value is not None:
            config[FIELDS[flag]] = int(value) if re.fullmatch(r"\d+", value) else float(value)
        elif flag not in ("--host", "--port"):
            extra += [flag] if value is None else [flag, value]
    return config | ({"extraArgs": extra} if extra else {})
