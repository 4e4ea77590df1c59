"""KServe LLMInferenceService (serving.kserve.io/v1alpha1, v1alpha2): model, parallelism, pods, prefill apart.

Source: the resource's schema: ``spec.model{uri,name}``, ``replicas``, ``parallelism{tensor, pipeline, data,
dataLocal, expert}``, ``template`` and ``worker`` (pod specs), ``prefill`` with the same fields.
"""

from __future__ import annotations

from dataclasses import replace

from shardproof.solver.documents.forms.accelerators import device_of_pod, gpus_of_resources
from shardproof.solver.documents.forms.container import (
    Group,
    count_of,
    device_statement,
    launches_of,
    number_statement,
    requested,
    variables_of,
)
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.forms.parallelism import engine_launch
from shardproof.solver.documents.launch import Launch
from shardproof.solver.documents.statement import Statement
from shardproof.solver.documents.tree import Node

FORM = "KServe LLMInferenceService"
_FIELDS = (("tensor", "tp"), ("pipeline", "pp"), ("data", "dp"), ("dataLocal", "dp_local"))


def read(tree: Node, known: Known) -> list[Launch] | None:
    """Return the decode and the prefill launch; ``None`` for any other document."""
    if tree.text("kind") not in ("LLMInferenceService", "LLMInferenceServiceConfig"):
        return None
    spec = tree.get("spec")
    if spec is None:
        return []
    uri = spec.get("model", "uri") or spec.get("model", "name")
    parts = [(spec, FORM)] + [(node, f"{FORM} prefill") for node in [spec.get("prefill")] if node is not None]
    return [_launch(part, uri, form, known) for part, form in parts]


def _launch(part: Node, uri: Node | None, form: str, known: Known) -> Launch:
    sections = known.sections
    launch = _own_command(part, form, known) or engine_launch("vllm", uri, part.line, form, sections)
    if not launch.model and uri is not None:
        named = engine_launch("vllm", uri, part.line, form, sections)
        launch = replace(launch, statements=(*launch.statements, *named.statements[1:]))
    added: list[Statement] = []
    for key, field in _FIELDS:
        node = part.get("parallelism", key)
        count = count_of(node)
        if count is not None and node is not None and not launch.has(field):
            added.append(number_statement(field, count, node.line, f"parallelism.{key}", sections))
    expert = part.get("parallelism", "expert")
    if expert is not None and expert.scalar == "true" and not launch.has("expert_parallel_enabled"):
        from shardproof.solver.documents.forms.parallelism import switch_statement

        added.append(switch_statement("expert_parallel_enabled", expert.line, "parallelism.expert: true", sections))
    return _with_pods(replace(launch, statements=(*launch.statements, *added)), part)


def _own_command(part: Node, form: str, known: Known) -> Launch | None:
    """The launch that the template's own container spells out, or its extra arguments by variable."""
    for container in part.each("template", "containers"):
        found = launches_of(container, known, Group(form))
        if found:
            kept = tuple(s for s in found[0].statements if s.field not in ("gpus_requested", "replicas", "device"))
            return replace(found[0], statements=kept)
        extra = variables_of(container, known).get("VLLM_ADDITIONAL_ARGS")
        if extra:
            return engine_launch("vllm", None, container.line, form, known.sections, extra=extra)
    return None


def _with_pods(launch: Launch, part: Node) -> Launch:
    """GPUs of the leader's and the workers' pods; with several pods, as many as the parallelism needs."""
    containers = part.each("template", "containers")
    counts = [gpus_of_resources(container.get("resources")) for container in containers]
    own = next((count for count in counts if count is not None), None)
    added: list[Statement] = []
    if own is not None:
        pods = _pod_count(launch) if part.get("worker") is not None else 1
        text = f"GPUs requested: {own[0]}" + (f" x {pods} pods" if pods > 1 else "")
        added.append(requested(own[0] * pods, own[1], text, launch.sections))
    replicas = part.get("replicas")
    if (count := count_of(replicas)) is not None and replicas is not None and count >= 1:
        added.append(number_statement("replicas", count, replicas.line, "replicas", launch.sections))
    template = part.get("template")
    device, line = device_of_pod(template) if template is not None else ("", 0)
    if device:
        added.append(device_statement(device, line, launch.sections))
    return replace(launch, statements=(*launch.statements, *added))


def _pod_count(launch: Launch) -> int:
    """Pods of a group: data over dataLocal, or one per pipeline stage."""
    data, local, stages = launch.number("dp"), launch.number("dp_local"), launch.number("pp")
    if data and local and data >= local:
        return int(-(-data // local))
    return int(stages or 1)
