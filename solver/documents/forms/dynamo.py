"""Dynamo's DynamoGraphDeployment: v1alpha1 services and v1beta1 components, workers together or apart.

Source: the operator's resource definitions. A worker of several nodes is one engine over ``nodeCount`` pods.
"""

from __future__ import annotations

from dataclasses import replace

from shardproof.solver.documents.forms.accelerators import gpus_of_resources
from shardproof.solver.documents.forms.container import Group, count_of, launches_of, requested
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.launch import Launch
from shardproof.solver.documents.tree import Node


def read(tree: Node, known: Known) -> list[Launch] | None:
    """Return the launches of the workers; ``None`` for any other document."""
    kind = tree.text("kind")
    if kind not in ("DynamoGraphDeployment", "DynamoComponentDeployment", "DynamoGraphDeploymentRequest"):
        return None
    found: list[Launch] = []
    spec = tree.get("spec")
    shared = _shared_variables(spec, known)
    for name, service in tree.pairs("spec", "services"):
        found += _service(name, service, shared)
    for component in tree.each("spec", "components"):
        found += _component(component, shared)
    if kind == "DynamoComponentDeployment" and spec is not None:
        found += _service(tree.text("metadata", "name"), spec, shared)
    return found


def _shared_variables(spec: Node | None, known: Known) -> Known:
    variables = dict(known.variables)
    for item in spec.each("envs") if spec is not None else ():
        if item.text("value"):
            variables[item.text("name")] = item.text("value")
    return replace(known, variables=variables)


def _group(part: Node, name: str) -> Group:
    replicas = part.get("replicas")
    nodes = count_of(part.get("multinode", "nodeCount")) or 1
    return Group(f"Dynamo worker {name}".strip(), nodes, count_of(replicas), replicas.line if replicas else 0)


def _service(name: str, service: Node, known: Known) -> list[Launch]:
    """A v1alpha1 service: resources beside ``extraPodSpec.mainContainer``."""
    container = service.get("extraPodSpec", "mainContainer")
    if container is None:
        return []
    group = _group(service, name)
    variables = _shared_variables(service, known)
    found = launches_of(container, variables, group, service.get("extraPodSpec"))
    gpus = gpus_of_resources(service.get("resources"))
    if gpus is None:
        return found
    text = f"GPUs requested: {gpus[0]}" + (f" x {group.pods} nodes" if group.pods > 1 else "")
    return [
        Launch(
            **{
                **launch.__dict__,
                "statements": (
                    *(s for s in launch.statements if s.field != "gpus_requested"),
                    requested(gpus[0] * group.pods, gpus[1], text, launch.sections, everywhere=group.pods > 1),
                ),
            }
        )
        for launch in found
    ]


def _component(component: Node, known: Known) -> list[Launch]:
    """A v1beta1 component: a pod template whose ``main`` container is the worker."""
    pod = component.get("podTemplate", "spec")
    if pod is None:
        return []
    group = _group(component, component.text("name"))
    return [launch for container in pod.each("containers") for launch in launches_of(container, known, group, pod)]
