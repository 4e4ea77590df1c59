"""Kubernetes: a Deployment for replicas of one node, a LeaderWorkerSet for those of several, a Service each.

Sources: apps/v1; leaderworkerset.x-k8s.io/v1 (v0.10.0), which gives every pod ``LWS_LEADER_ADDRESS`` and
``LWS_WORKER_INDEX``; Gateway API v1 HTTPRoute for the weights of groups that differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from shardproof.instances.plan import Pool
from shardproof.solver.evaluation.pool_flags import BOOTSTRAP
from shardproof.solver.exporters.apart import (
    ROUTER_CONFIG,
    ROUTER_IMAGE,
    ROUTERS,
    is_apart,
    pools_of,
    router_config,
    router_words,
)
from shardproof.solver.exporters.images import image_of
from shardproof.solver.exporters.pods import config_map, pod
from shardproof.solver.exporters.routing import http_route
from shardproof.solver.exporters.text import cannot, shell_words, to_yaml
from shardproof.solver.exporters.units import PORT, Process, Unit

TARGET = "kubernetes"


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return one file a group, and the route over all of them where they are several."""
    if is_apart(units):
        return _apart(units)
    files = {}
    for unit in units:
        workload = _deployment(unit) if unit.nodes == 1 else _leader_workers(unit)
        files[f"{unit.name}.yaml"] = to_yaml(*config_map(unit), workload, _service(unit))
    if len(units) > 1:
        names = [_service_name(unit) for unit in units]
        files["route.yaml"] = to_yaml(http_route(units[0].name.rpartition("-")[0], units, names, port=PORT))
    return files


def _apart(units: Sequence[Unit]) -> dict[str, str]:
    """Return both pools with an address for every server, and the router of both."""
    prefill, decode = pools_of(units, TARGET)
    files = {}
    for unit in (prefill, decode):
        trees = [_stateful(unit), _headless(unit)] if unit.nodes == 1 else [_leader_workers(unit)]
        files[f"{unit.name}.yaml"] = to_yaml(*config_map(unit), *trees)
    return files | {"router.yaml": to_yaml(*_router(prefill, decode))}


def _stateful(unit: Unit) -> dict[str, Any]:
    tree = _deployment(unit)
    started = {"serviceName": unit.name, "podManagementPolicy": "Parallel"}
    return tree | {"kind": "StatefulSet", "spec": tree["spec"] | started}


def _headless(unit: Unit) -> dict[str, Any]:
    tree = _service(unit)
    return tree | {"spec": {"clusterIP": "None", "publishNotReadyAddresses": True, **tree["spec"]}}


def _router(prefill: Unit, decode: Unit) -> list[dict[str, Any]]:
    """Return a Deployment of the router, its Service, and the file that TensorRT-LLM's reads."""
    addresses: dict[Pool, list[str]] = {
        "prefill": [f"{prefill.name}-{one}.{prefill.name}:{PORT}" for one in range(prefill.replicas)],
        "decode": [f"{decode.name}-{one}.{decode.name}:{PORT}" for one in range(decode.replicas)],
    }
    words = router_words(prefill.engine, addresses, [BOOTSTRAP] * prefill.replicas)
    name = prefill.name.removesuffix("prefill") + "router"
    labels = {"app": name}
    container: dict[str, Any] = {"name": "router", "image": ROUTER_IMAGE}
    if prefill.engine == "trtllm":
        config = {"name": f"{name}-config", "items": [{"key": ROUTER_CONFIG, "path": ROUTER_CONFIG}]}
        container |= {"image": image_of(prefill, TARGET), "command": words[:-1], "args": [f"/config/{ROUTER_CONFIG}"]}
        container["volumeMounts"] = [{"name": "config", "mountPath": "/config"}]
        volumes = {"volumes": [{"name": "config", "configMap": config}]}
    else:
        script = f"pip install {ROUTERS[prefill.engine]} && exec {shell_words([*words, str(PORT)])}"
        container |= {"command": ["/bin/bash", "-c"], "args": [script]}
        volumes = {}
    container["ports"] = [{"name": "http", "containerPort": PORT}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **volumes}}
    workload = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    found = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": workload},
        _service_of(name, labels),
    ]
    if prefill.engine == "trtllm":
        text = router_config(prefill.model, addresses, PORT)
        head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-config"}}
        found.insert(0, head | {"data": {ROUTER_CONFIG: text}})
    return found


def _labels(unit: Unit) -> dict[str, str]:
    return {"app": unit.name}


def _deployment(unit: Unit) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": unit.name, "labels": _labels(unit)},
        "spec": {
            "replicas": unit.replicas,
            "selector": {"matchLabels": _labels(unit)},
            "template": {"metadata": {"labels": _labels(unit)}, "spec": pod(unit, unit.processes[0], TARGET)},
        },
    }


def leader_and_worker(unit: Unit, target: str) -> tuple[Process, Process]:
    """Return what the leader and every other pod of a LeaderWorkerSet start.

    Raises
    ------
    InputError
        If the engine spans nodes by MPI or Ray, which need more than pods that start alike.
    """
    if unit.engine == "trtllm":
        reason = "TensorRT-LLM spans nodes by MPI; export to slurm or dynamo, whose launchers start it"
        raise cannot(target, reason, field="stages")
    if unit.is_ray:
        reason = "this version of vLLM spans nodes by Ray alone; name vllm@0.11 or later, or export to ray-serve"
        raise cannot(target, reason, field="engine")
    leader, worker = unit.processes[:2]
    return _addressed(leader), _ranked(_addressed(worker)) if unit.nodes > 2 else _addressed(worker)


def _addressed(process: Process) -> Process:
    """Put the variables of a LeaderWorkerSet where addresses and ranks of nodes are told."""
    words = [re.sub(r"^\$MASTER_ADDR", "$LWS_LEADER_ADDRESS", word) for word in process.words]
    for place, word in enumerate(words[:-1]):
        if word == "--node-rank" and words[place + 1] != "0":
            words[place + 1] = "$LWS_WORKER_INDEX"
    return Process(process.environment, tuple(words))


def _leader_workers(unit: Unit) -> dict[str, Any]:
    leader, worker = leader_and_worker(unit, TARGET)
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": unit.name},
        "spec": {
            "replicas": unit.replicas,
            "leaderWorkerTemplate": {
                "size": unit.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": {
                    "metadata": {"labels": _labels(unit)},
                    "spec": pod(unit, leader, TARGET, shell=True),
                },
                "workerTemplate": {"spec": pod(unit, worker, TARGET, probes=False, shell=True)},
            },
        },
    }


def _ranked(worker: Process) -> Process:
    """Compute the first data-parallel rank of a pod from its place in the group."""
    words = list(worker.words)
    if "--data-parallel-start-rank" not in words:
        return worker
    place = words.index("--data-parallel-start-rank") + 1
    words[place] = f"$(({words[place]} * LWS_WORKER_INDEX))"
    return Process(worker.environment, tuple(words))


def _service_name(unit: Unit) -> str:
    """The name of a LeaderWorkerSet belongs to the headless service that its operator makes."""
    return unit.name if unit.nodes == 1 else f"{unit.name}-http"


def _service(unit: Unit) -> dict[str, Any]:
    return _service_of(_service_name(unit), _labels(unit))


def _service_of(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
    }
