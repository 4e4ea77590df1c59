"""Helm values: vLLM's production-stack (``servingEngineSpec``) and llm-d's modelservice (``modelArtifacts``).

Sources: the charts' value schemas. modelservice asks for tensor x dataLocal GPUs a pod where the values name
none, and runs ``parallelism.workers`` pods for one copy.
"""

from __future__ import annotations

import re
from dataclasses import replace

from shardproof.solver.documents.forms.accelerators import device_of_expressions, gpus_of_resources
from shardproof.solver.documents.forms.container import (
    Group,
    count_of,
    device_statement,
    launches_of,
    number_statement,
    requested,
    words_of,
)
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.forms.parallelism import engine_launch
from shardproof.solver.documents.launch import Launch, engine_statement
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.text import printable
from shardproof.solver.documents.tree import Node

PRODUCTION_STACK = "production-stack values"
MODEL_SERVICE = "llm-d modelservice values"


def read(tree: Node, known: Known) -> list[Launch] | None:
    """Return the launches of a chart's values; ``None`` for values of other charts."""
    specs = tree.each("servingEngineSpec", "modelSpec")
    if specs:
        return [_model_spec(spec, known) for spec in specs]
    if tree.get("modelArtifacts") is not None and (tree.get("decode") or tree.get("prefill")):
        return _model_service(tree, known)
    return None


def _model_spec(spec: Node, known: Known) -> Launch:
    """One model of production-stack: ``modelURL``, ``vllmConfig``, ``requestGPU``, ``replicaCount``, Ray."""
    config = spec.get("vllmConfig") or Node(spec.line)
    words = words_of(spec.get("extraArgs")) + words_of(config.get("extraArgs"))
    extra = " ".join(f"'{word.text}'" for word in words)
    variables = {item.text("name"): item.text("value") for item in spec.each("env")}
    url, sections = spec.get("modelURL"), known.sections
    launch = engine_launch("vllm", url, spec.line, PRODUCTION_STACK, sections, extra=extra, variables=variables)
    own = [
        statement
        for key, node in (*spec.pairs(), *config.pairs())
        if (statement := _camel(key, node, known.sections)) is not None
    ]
    fields = {statement.field for statement in own}
    kept = tuple(statement for statement in launch.statements if statement.field not in fields)
    return replace(launch, statements=(*kept, *own, *_request(spec, known.sections)), name=spec.text("name"))


def _camel(key: str, node: Node, sections: tuple[str, ...]) -> Statement | None:
    """A field of ``vllmConfig`` is vLLM's flag in camel case."""
    if node.scalar is None:
        return None
    from shardproof.solver.documents.commands import field_of

    flag = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", key).lower()
    field = field_of("vllm", flag)
    return (
        engine_statement(field, Entry(node.line, f"{key}: {printable(node.scalar)}", sections, key, node.scalar))
        if field
        else None
    )


def _request(spec: Node, sections: tuple[str, ...]) -> list[Statement]:
    found: list[Statement] = []
    gpus, replicas = spec.get("requestGPU"), spec.get("replicaCount")
    count, copies = count_of(gpus), count_of(replicas)
    ray = spec.text("raySpec", "enabled") == "true" or spec.get("raySpec", "headNode") is not None
    if count is not None and gpus is not None:
        head = count_of(spec.get("raySpec", "headNode", "requestGPU"))
        pods = 1 + (copies or 0) if ray else 1
        total = count * (pods - 1) + (count if head is None else head) if ray else count
        text = f"GPUs requested: {total}" + (f" in {pods} Ray pods" if ray else "")
        found.append(requested(total, gpus.line, text, sections))
    if copies and replicas is not None and not ray:
        found.append(number_statement("replicas", copies, replicas.line, "replicaCount", sections))
    for term in spec.each("nodeSelectorTerms"):
        devices = [(device, line) for device, line in device_of_expressions(term) if device]
        if len({device for device, _ in devices}) == 1:
            found.append(device_statement(*devices[0], sections))
    return found


def _model_service(tree: Node, known: Known) -> list[Launch]:
    uri = tree.get("modelArtifacts", "uri") or tree.get("modelArtifacts", "name")
    if uri is not None and uri.scalar and not uri.scalar.startswith("hf://"):
        uri = tree.get("modelArtifacts", "name") or uri
    found = []
    for role in ("decode", "prefill"):
        part = tree.get(role)
        if part is None or part.text("create") == "false":
            continue
        found += [
            _role(container, part, uri, f"{MODEL_SERVICE}: {role}", known) for container in part.each("containers")
        ]
    return [launch for launch in found if launch is not None]


def _role(container: Node, part: Node, uri: Node | None, form: str, known: Known) -> Launch | None:
    sections = known.sections
    if container.text("modelCommand") in ("vllmServe", "imageDefault", ""):
        words = words_of(container.get("args"))
        extra = " ".join(f"'{word.text}'" for word in words)
        launch = engine_launch("vllm", uri, container.line, form, sections, extra=extra)
    else:
        own = launches_of(container, known, Group(form))
        if not own:
            return None
        launch = replace(own[0], statements=tuple(s for s in own[0].statements if s.field != "gpus_requested"))
    added: list[Statement] = []
    for key, field in (("tensor", "tp"), ("data", "dp"), ("dataLocal", "dp_local")):
        node = part.get("parallelism", key)
        count = count_of(node)
        if count is not None and node is not None and not launch.has(field):
            added.append(number_statement(field, count, node.line, f"parallelism.{key}", sections))
    workers = count_of(part.get("parallelism", "workers")) or 1
    gpus = gpus_of_resources(container.get("resources"))
    if gpus is not None:
        text = f"GPUs requested: {gpus[0]}" + (f" x {workers} workers" if workers > 1 else "")
        added.append(requested(gpus[0] * workers, gpus[1], text, sections))
    replicas = part.get("replicas")
    if (copies := count_of(replicas)) and replicas is not None:
        added.append(number_statement("replicas", copies, replicas.line, "replicas", sections))
    return replace(launch, statements=(*launch.statements, *added))
