"""NVIDIA Dynamo: a DynamoGraphDeployment (nvidia.com/v1beta1) of a frontend and workers, or prefill and decode.

Sources: the operator's documentation: ``spec.components`` with ``type``, ``replicas``, ``multinode.nodeCount`` and
``podTemplate`` whose container ``main`` is the worker; the operator adds addresses and ranks of nodes, and probes,
itself. Workers take the engine's own flags (``python3 -m dynamo.vllm``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardproof.solver.exporters.apart import is_apart, pools_of, stem_of
from shardproof.solver.exporters.images import resource_of
from shardproof.solver.exporters.pods import config_map, pod, shared_memory, split
from shardproof.solver.exporters.text import alone, cannot, to_yaml
from shardproof.solver.exporters.units import Process, Unit

TARGET = "dynamo"
IMAGES = {"vllm": "vllm-runtime", "sglang": "sglang-runtime", "trtllm": "tensorrtllm-runtime"}
RELEASE = "1.5.0"
"""Of Dynamo; an image holds one version of its engine."""


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return the graph, and TensorRT-LLM's options as a ConfigMap."""
    if is_apart(units):
        workers: tuple[Unit, ...] = pools_of(units, TARGET)
    else:
        reason = "its frontend routes by load and cached prefixes, and takes no weights of workers"
        workers = (alone(units, TARGET, reason),)
    unit = workers[0]
    if unit.device.vendor != "NVIDIA":
        raise cannot(TARGET, f"its images are for NVIDIA devices, not for {unit.device.name}", field="device")
    resource_of(unit, TARGET)
    spec = {"backendFramework": unit.engine, "components": [_frontend(unit), *map(_worker, workers)]}
    head = {"apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment"}
    name = stem_of(units)
    graph = {**head, "metadata": {"name": name}, "spec": spec}
    return {f"{name}.yaml": to_yaml(*(tree for one in workers for tree in config_map(one)), graph)}


def _image(unit: Unit) -> str:
    return f"nvcr.io/nvidia/ai-dynamo/{IMAGES[unit.engine]}:{RELEASE}"


def _frontend(unit: Unit) -> dict[str, Any]:
    container = {"name": "main", "image": _image(unit)}
    return {
        "name": "frontend",
        "type": "frontend",
        "replicas": 1,
        "podTemplate": {"spec": {"containers": [container]}},
    }


def _worker(unit: Unit) -> dict[str, Any]:
    process = Process(unit.processes[0].environment, tuple(_words(unit)))
    spec = pod(unit, process, TARGET, probes=False)
    words = ["/config/config.yaml" if word == "config.yaml" else word for word in process.words]
    container = spec["containers"][0] | {"name": "main", "image": _image(unit)} | split(words)
    kind = unit.pool or "worker"
    found: dict[str, Any] = {"name": kind, "type": kind, "replicas": unit.replicas}
    if unit.nodes > 1:
        found["multinode"] = {"nodeCount": unit.nodes}
    found["sharedMemorySize"] = shared_memory(unit)  # the operator mounts /dev/shm itself, 8 GiB unless told
    return found | {"podTemplate": {"spec": _without_shared_memory(spec | {"containers": [container]})}}


def _without_shared_memory(spec: dict[str, Any]) -> dict[str, Any]:
    container = dict(spec["containers"][0])
    container["volumeMounts"] = [one for one in container["volumeMounts"] if one["name"] != "shm"]
    volumes = [one for one in spec["volumes"] if one["name"] != "shm"]
    if not container["volumeMounts"]:
        del container["volumeMounts"]
    kept = {key: value for key, value in spec.items() if key != "volumes"} | {"containers": [container]}
    return kept | ({"volumes": volumes} if volumes else {})


def _words(unit: Unit) -> list[str]:
    """Words of the worker: the engine's flags without those that a server or the operator's nodes need."""
    words = list(unit.alone().words)
    for flag in ("--host", "--port"):
        place = words.index(flag)
        del words[place : place + 2]
    mode = ["--disaggregation-mode", unit.pool] if unit.pool is not None else []
    if unit.engine == "vllm":
        return ["python3", "-m", "dynamo.vllm", "--model", *words[2:], *mode]
    if unit.engine == "sglang":
        return ["python3", "-m", "dynamo.sglang", *words[words.index("--model-path") :]]
    options = ["--extra-engine-args", "config.yaml"]
    return ["python3", "-m", "dynamo.trtllm", "--model-path", unit.model, *options, *mode]
