"""Kubernetes workloads: Pod, Deployment, StatefulSet, ReplicaSet, Job, DaemonSet and LeaderWorkerSet."""

from __future__ import annotations

from dataclasses import replace

from shardproof.solver.documents.forms.accelerators import gpus_of_resources
from shardproof.solver.documents.forms.container import Group, count_of, launches_of
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.launch import Launch
from shardproof.solver.documents.tree import Node

_WORKLOADS = frozenset({"Pod", "Deployment", "StatefulSet", "ReplicaSet", "Job", "DaemonSet", "ReplicationController"})


def read(tree: Node, known: Known) -> list[Launch] | None:
    """Return the launches of a workload, ``None`` for any other document; a List is read item by item."""
    kind = tree.text("kind")
    if not tree.text("apiVersion"):
        return None
    if kind == "List":
        return [launch for item in tree.each("items") for launch in read(item, known) or ()]
    if kind == "LeaderWorkerSet":
        return _leader_worker(tree, known)
    if kind not in _WORKLOADS:
        return _other_kind(tree, known, kind)
    pod = tree.get("spec") if kind == "Pod" else tree.get("spec", "template", "spec")
    if pod is None:
        return []
    replicas = tree.get("spec", "replicas")
    group = Group(f"Kubernetes {kind}", 1, count_of(replicas), replicas.line if replicas is not None else 0)
    return pod_launches(pod, known, group)


def pod_launches(pod: Node, known: Known, group: Group) -> list[Launch]:
    """Return the launches of a pod's containers; several that share one request are left without it."""
    return [launch for container in pod.each("containers") for launch in launches_of(container, known, group, pod)]


def _leader_worker(tree: Node, known: Known) -> list[Launch]:
    """A group of ``size`` pods is one copy; the leader (or every pod alike) starts the engine."""
    size = count_of(tree.get("spec", "leaderWorkerTemplate", "size")) or 1
    worker = tree.get("spec", "leaderWorkerTemplate", "workerTemplate", "spec")
    leader = tree.get("spec", "leaderWorkerTemplate", "leaderTemplate", "spec")
    replicas = tree.get("spec", "replicas")
    line = replicas.line if replicas is not None else 0
    copies = count_of(replicas)
    form = "Kubernetes LeaderWorkerSet"
    own = {"LWS_GROUP_SIZE": str(size), "LWS_WORKER_INDEX": "0"}
    known = replace(known, variables=known.variables | own)
    if leader is None:
        return [] if worker is None else pod_launches(worker, known, Group(form, size, copies, line))
    others = (size - 1) * (_pod_gpus(worker) if worker is not None else 0)
    found = pod_launches(leader, known, Group(form, 1, copies, line, others))
    seconds = [] if worker is None else pod_launches(worker, known, Group(form, 0, copies, line))
    known_ones = {launch.identity for launch in found}
    return found + [replace(launch, rank=1) for launch in seconds if launch.identity not in known_ones and not found]


def _pod_gpus(pod: Node) -> int:
    counts = (gpus_of_resources(container.get("resources")) for container in pod.each("containers"))
    return sum(count[0] for count in counts if count is not None)


def _other_kind(tree: Node, known: Known, kind: str) -> list[Launch] | None:
    """Custom resources of other operators: any pod template in them is read; plain core kinds say nothing."""
    if kind in ("ConfigMap",):
        return None
    pods = [node for node in tree.walk() if node.get("containers") is not None]
    found = [launch for pod in pods[:16] for launch in pod_launches(pod, known, Group(f"Kubernetes {kind}", open=True))]
    return found if found or "/" not in tree.text("apiVersion") or tree.text("apiVersion").count(".") else None
