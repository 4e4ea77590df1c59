"""Pods: the container of an engine with GPUs, shared memory, probes and the nodes that hold the device."""

from __future__ import annotations

from typing import Any

from shardproof.solver.exporters.images import image_of, resource_of, selector_of
from shardproof.solver.exporters.text import shell_words
from shardproof.solver.exporters.units import PORT, Process, Unit

SHARED_MEMORY_PER_GPU_GIB = 8
"""Room for the engines' queues and NCCL's buffers between the processes of a pod; memory is taken as it is used."""

_STARTS_WITHIN_S = 3600
_EVERY_S = 10


def pod(unit: Unit, process: Process, target: str, *, probes: bool = True, shell: bool = False) -> dict[str, Any]:
    """Return a pod's spec; ``shell``: variables in the words are filled in by a shell as the pod starts."""
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory(unit)}}
    ]
    if unit.config is not None:
        volumes.append({"name": "config", "configMap": {"name": f"{unit.name}-config"}})
    spec: dict[str, Any] = {"containers": [container(unit, process, target, probes=probes, shell=shell)]}
    selector = selector_of(unit)
    return spec | ({"nodeSelector": selector} if selector else {}) | {"volumes": volumes}


def shared_memory(unit: Unit) -> str:
    """Return the size of a pod's /dev/shm."""
    return f"{SHARED_MEMORY_PER_GPU_GIB * unit.gpus_per_node}Gi"


def container(
    unit: Unit, process: Process, target: str, *, name: str = "engine", probes: bool = True, shell: bool = False
) -> dict[str, Any]:
    """Return the engine's container."""
    words = ["/config/config.yaml" if word == "config.yaml" else word for word in process.words]
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]  # the mount itself, no file in it
    if unit.config is not None:
        mounts.append({"name": "config", "mountPath": "/config"})
    found: dict[str, Any] = {"name": name, "image": image_of(unit, target)}
    found |= {"command": ["/bin/bash", "-c"], "args": [f"exec {shell_words(words)}"]} if shell else split(words)
    found["env"] = environment(process) + side_channel(unit)
    if probes:
        found["ports"] = [{"name": "http", "containerPort": PORT}]
    gpus = {resource_of(unit, target): str(unit.gpus_per_node)}
    found["resources"] = {"requests": gpus, "limits": gpus}
    found["volumeMounts"] = mounts
    return found | (_probes() if probes else {})


def split(words: list[str]) -> dict[str, list[str]]:
    """Return the words as command (the program) and arguments."""
    first = next((place for place, word in enumerate(words) if word.startswith("--")), len(words))
    return {"command": words[:first], "args": words[first:]}


def environment(process: Process) -> list[dict[str, Any]]:
    """Return variables, with a token for gated models where the cluster holds one."""
    token = {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    own = [{"name": key, "value": value} for key, value in process.environment.items()]
    return [*own, {"name": "HF_TOKEN", "valueFrom": token}]


def side_channel(unit: Unit) -> list[dict[str, Any]]:
    """Return the variable by which servers of vLLM's pools reach each other: the pod's own address."""
    if unit.pool is None or unit.engine != "vllm":
        return []
    address = {"fieldRef": {"fieldPath": "status.podIP"}}
    return [{"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": address}]


def _probes() -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": _EVERY_S, "timeoutSeconds": 5}
    return {
        "startupProbe": probe | {"failureThreshold": _STARTS_WITHIN_S // _EVERY_S},
        "readinessProbe": probe | {"failureThreshold": 3},
        "livenessProbe": probe | {"failureThreshold": 6},
    }


def config_map(unit: Unit) -> list[dict[str, Any]]:
    """Return the ConfigMap with TensorRT-LLM's options; none for engines that take flags alone."""
    if unit.config is None:
        return []
    name = {"name": f"{unit.name}-config"}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": {"config.yaml": unit.config}}]
