"""Ray Serve: application configurations (alone or as ``serveConfigV2`` of a RayService) with their models.

Source: Ray Serve's LLM configuration (``llm_configs``: ``model_loading_config``, ``engine_kwargs``,
``accelerator_type``, ``deployment_config``) and KubeRay's RayService.
"""

from __future__ import annotations

from dataclasses import replace

from shardproof.solver.documents.forms.accelerators import gpus_of_resources
from shardproof.solver.documents.forms.container import count_of, device_statement, number_statement, requested
from shardproof.solver.documents.forms.known import Known
from shardproof.solver.documents.forms.parallelism import engine_launch
from shardproof.solver.documents.launch import Launch, options_of
from shardproof.solver.documents.statement import Entry, Statement
from shardproof.solver.documents.tree import Node, read_tree

FORM = "Ray Serve application"
_VARIABLES = (
    ("TENSOR_PARALLELISM", "tp"), ("TENSOR_PARALLEL_SIZE", "tp"), ("PIPELINE_PARALLELISM", "pp"),
    ("PIPELINE_PARALLEL_SIZE", "pp"), ("MAX_MODEL_LEN", "max_model_len"),
)  # fmt: skip


def read(tree: Node, known: Known) -> list[Launch] | None:
    """Return the launches of a RayService or of an application file; ``None`` for any other document."""
    if tree.text("kind") in ("RayService", "RayJob", "RayCluster"):
        node = tree.get("spec", "serveConfigV2")
        if node is None or not node.scalar:
            return None if tree.text("kind") != "RayService" else []
        applications = read_tree(node.scalar, name="serveConfigV2")
        found = [launch for part in applications for launch in _applications(part, known, node.first - 1)]
        cluster = tree.get("spec", "rayClusterConfig")
        return _with_cluster(found, cluster) if cluster is not None else found
    if tree.each("applications") or tree.each("llm_configs"):
        return _applications(tree, known, 0)
    return None


def _applications(tree: Node, known: Known, shift: int) -> list[Launch]:
    found = []
    parts = [application.get("args") or application for application in tree.each("applications")] or [tree]
    for part in parts:
        configs = list(part.each("llm_configs"))
        found += [_config(config, known, shift) for config in configs if config.fields is not None]
    for application in tree.each("applications"):
        found += _by_variables(application, known, shift)
    return found


def _config(config: Node, known: Known, shift: int) -> Launch:
    model = config.get("model_loading_config", "model_source") or config.get("model_loading_config", "model_id")
    placed = replace(model, line=model.line + shift) if model is not None else None
    variables = {key: node.scalar or "" for key, node in config.pairs("runtime_env", "env_vars")}
    launch = engine_launch("vllm", placed, config.line + shift, FORM, known.sections, variables=variables)
    arguments = config.get("engine_kwargs")
    own = options_of("vllm", arguments, known.sections, shift=shift) if arguments is not None else []
    added: list[Statement] = []
    device = config.get("accelerator_type")
    if device is not None and device.scalar:
        added.append(device_statement(device.scalar.replace("-", " "), device.line + shift, known.sections))
    replicas = config.get("deployment_config", "num_replicas") or config.get(
        "deployment_config", "autoscaling_config", "min_replicas"
    )
    if (count := count_of(replicas)) and replicas is not None:
        added.append(number_statement("replicas", count, replicas.line + shift, "replicas", known.sections))
    return replace(
        launch, statements=(*launch.statements, *own, *added), name=config.text("model_loading_config", "model_id")
    )


def _by_variables(application: Node, known: Known, shift: int) -> list[Launch]:
    """KubeRay's vLLM samples hand model and degrees to their code as variables."""
    variables = dict(application.pairs("runtime_env", "env_vars"))
    model = variables.get("MODEL_ID") or variables.get("MODEL_NAME")
    if model is None or not model.scalar:
        return []
    launch = engine_launch(
        "vllm", replace(model, line=model.line + shift), application.line + shift, FORM, known.sections
    )
    added = [
        number_statement(field, count, variables[name].line + shift, name, known.sections)
        for name, field in _VARIABLES
        if (count := count_of(variables.get(name))) is not None
    ]
    return [replace(launch, statements=(*launch.statements, *added))]


def _with_cluster(launches: list[Launch], cluster: Node) -> list[Launch]:
    """GPUs that the cluster's groups have, where one application stands on it."""
    total, line = 0, 0
    for group in cluster.each("workerGroupSpecs"):
        pods = (count_of(group.get("replicas")) or count_of(group.get("minReplicas")) or 1) * (
            count_of(group.get("numOfHosts")) or 1
        )
        for container in group.each("template", "spec", "containers"):
            gpus = gpus_of_resources(container.get("resources"))
            if gpus is not None:
                total, line = total + gpus[0] * pods, gpus[1]
    for container in cluster.each("headGroupSpec", "template", "spec", "containers"):
        gpus = gpus_of_resources(container.get("resources"))
        total, line = (total + gpus[0], line or gpus[1]) if gpus is not None else (total, line)
    if not total or len(launches) != 1:
        return launches
    entry = Entry(line, f"GPUs of the Ray cluster: {total}", launches[0].sections, "GPUs", str(total))
    statement = requested(total, line, entry.text, launches[0].sections)
    return [replace(launches[0], statements=(*launches[0].statements, replace(statement, field="gpus_available")))]
