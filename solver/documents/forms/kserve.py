"""KServe InferenceService (serving.kserve.io/v1beta1): the predictor's model, arguments, GPUs and workers.

Source: KServe's API reference (PredictorSpec, ModelSpec, WorkerSpec) and its Hugging Face runtime, whose
arguments are those of vLLM's server beside ``--model_id``, ``--model_name`` and ``--model_dir``.
"""

from __future__ import annotations

from dataclasses import replace

from shardproof.solver.documents.commands import read_call
from shardproof.solver.documents.forms.accelerators import device_of_pod, gpus_of_resources
from shardproof.solver.documents.forms.container import (
    Group,
    commands_of,
    count_of,
    device_statement,
    launches_of,
    number_statement,
    requested,
)
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.launch import Launch, launch_of_call
from shardproof.solver.documents.shell import Command, Word
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.tree import Node
from shardproof.solver.documents.values import make

FORM = "KServe InferenceService"


def read(tree: Node, known: Known) -> list[Launch] | None:
    """Return the launches of an InferenceService; ``None`` for any other document."""
    if tree.text("kind") == "ServingRuntime" or tree.text("kind") == "ClusterServingRuntime":
        return [
            launch
            for container in tree.each("spec", "containers")
            for launch in launches_of(container, known, Group(f"KServe {tree.text('kind')}"))
        ]
    predictor = tree.get("spec", "predictor")
    if tree.text("kind") != "InferenceService" or predictor is None:
        return None
    replicas = predictor.get("minReplicas")
    line = replicas.line if replicas is not None else 0
    group = Group(FORM, 1, count_of(replicas) or None, line, _worker_gpus(predictor))
    found = [
        launch
        for container in predictor.each("containers")
        for launch in launches_of(container, known, group, predictor)
    ]
    model = predictor.get("model")
    return found + (_of_model(model, predictor, known, group) if model is not None else [])


def _worker_gpus(predictor: Node) -> int:
    """GPUs of the worker pods beside the head: one fewer than pipeline stages."""
    worker = predictor.get("workerSpec")
    if worker is None:
        return 0
    stages = count_of(worker.get("pipelineParallelSize")) or 1
    counts = [gpus_of_resources(container.get("resources")) for container in worker.each("containers")]
    each = next((count[0] for count in counts if count is not None), None)
    own = gpus_of_resources(predictor.get("model", "resources"))
    return (stages - 1) * (each if each is not None else own[0] if own else 0)


def _of_model(model: Node, predictor: Node, known: Known, group: Group) -> list[Launch]:
    """A model served by a runtime: arguments go to the runtime, which is vLLM's server for Hugging Face."""
    formats = model.text("modelFormat", "name").lower()
    runtime = model.text("runtime").lower()
    commands = commands_of(model, known) or [Command((), dict(known.variables), known.files)]
    if formats not in ("huggingface", "vllm", "pytorch", "") and "vllm" not in runtime:
        return []
    found = []
    for command in commands[:4]:
        call = read_call(command, sections=known.sections)
        if call is None:
            head = (Word("vllm", model.line), Word("serve", model.line))
            call = read_call(replace(command, words=head + command.words), sections=known.sections)
        if call is not None:
            launch = launch_of_call(call, command, form=FORM, sections=known.sections)
            found.append(_complete(launch, model, predictor, group))
    return found


def _complete(launch: Launch, model: Node, predictor: Node, group: Group) -> Launch:
    sections, added = launch.sections, list[Statement]()
    location = model.get("storageUri")
    if not launch.model and location is not None and location.scalar:
        name = location.scalar.removeprefix("hf://")
        entry = Entry(location.line, f"storageUri: {location.scalar}"[:160], sections, "storageUri", name)
        added.append(make(entry, "model", name, "engine"))
    for key, field in (("tensorParallelSize", "tp"), ("pipelineParallelSize", "pp")):
        node = predictor.get("workerSpec", key)
        count = count_of(node)
        if count is not None and node is not None and not launch.has(field):
            added.append(number_statement(field, count, node.line, key, sections))
    gpus = gpus_of_resources(model.get("resources"))
    if gpus is not None:
        total = gpus[0] + group.other_gpus
        text = f"GPUs requested: {total}" + (f" ({group.other_gpus} of them in workers)" if group.other_gpus else "")
        added.append(requested(total, gpus[1], text, sections))
    if group.replicas:
        added.append(number_statement("replicas", group.replicas, group.replicas_line, "minReplicas", sections))
    device, line = device_of_pod(predictor)
    if device:
        added.append(device_statement(device, line, sections))
    return replace(launch, statements=(*launch.statements, *added))
