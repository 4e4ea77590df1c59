"""README of an export: which files there are, what runs where, how requests are shared, what to know first."""

from __future__ import annotations

from collections.abc import Sequence

from shardproof.solver.evaluation.engine_flags import engine_notes
from shardproof.solver.exporters.apart import is_apart
from shardproof.solver.exporters.release import recorded, release_of
from shardproof.solver.exporters.routing import scenarios_of, weights_of
from shardproof.solver.exporters.units import Unit

START = {
    "vllm": "Run the script of each node on every host that the seats file names.",
    "sglang": "Run the script of each node on every host that the seats file names.",
    "trtllm": "Run the script of each group on every host that the seats file names.",
    "docker-compose": "On host N: `docker compose -f compose-host-N.yaml up -d`.",
    "kubernetes": "`kubectl apply -f FILE` for each YAML file; groups of pods need the operator of LeaderWorkerSet.",
    "slurm": "`sbatch FILE` for each job file, in this folder on a file system that every node sees.",
    "kserve": "`kubectl apply -f FILE`; the cluster needs KServe with LLMInferenceService.",
    "dynamo": "`kubectl apply -f FILE`; the cluster needs Dynamo's operator, of the release that the image names.",
    "llm-d": "`helm install NAME llm-d-modelservice/llm-d-modelservice -f FILE`.",
    "production-stack": "`helm install NAME vllm/vllm-stack -f FILE`.",
    "ray-serve": "`kubectl apply -f FILE`; the cluster needs KubeRay, and vLLM is the one of Ray's image.",
}


OWN_IMAGES = {"dynamo": "Dynamo's image", "ray-serve": "Ray's image"}
"""Targets whose image brings a release of the engine of its own."""


def write_readme(target: str, units: Sequence[Unit], files: Sequence[str], note: str | None) -> str:
    """Return the text; ``note``: what is to be known of the release that the files start."""
    first = units[0]
    lines = [f"# {first.instance.model.name}: files for {target}", "", START[target], ""]
    lines += [f"{_release(target, first)} The plan itself is JSON beside them.", ""]
    lines += [f"**Release:** {note}.", ""] if note else []
    lines += ["## Files", "", *(f"- `{name}`" for name in files), "", "## What runs where", ""]
    lines += ["| name | times | hosts of one | each host gives |", "|---|---|---|---|", *map(_row, units), ""]
    lines += ["```text", *(f"{unit.name}: {note}" for unit in units for note in engine_notes(unit.told)), "```", ""]
    lines += _weights(units)
    return "\n".join(lines) + "\n"


def _release(target: str, unit: Unit) -> str:
    """Say of which release the flags are, which one starts, and by whose account of memory the plan holds."""
    started, flags = f"{unit.engine} {release_of(unit.instance)}", f"{unit.engine} {recorded(unit.engine)}"
    said = f"Flags are those of {flags}"
    if target in OWN_IMAGES:
        return f"{said}; {OWN_IMAGES[target]} brings a release of its own; memory is accounted as of {started}."
    return f"{said}, the release is {started}, and memory is accounted as of it."


def _row(unit: Unit) -> str:
    return f"| `{unit.name}` | {unit.replicas} | {unit.nodes} | {unit.gpus_per_node} x {unit.device.name} |"


def _alike(units: Sequence[Unit]) -> list[str]:
    """What pools on devices of different generations must be told besides.

    Source: vllm-project/vllm, ``docs/features/nixl_connector_compatibility.md``: attention backend, cache dtype and
    version enter a hash that is compared when two servers meet.
    """
    if units[0].engine != "vllm" or len({unit.device.architecture for unit in units}) == 1:
        return []
    said = "The pools' devices are of different generations, for which vLLM may choose different attention backends"
    return [f"{said}; servers refuse each other then. Start all with the same `--attention-backend`.", ""]


def _weights(units: Sequence[Unit]) -> list[str]:
    if is_apart(units):
        said = "Each request passes one server of the prefill pool and one of the decode pool; the router of both picks"
        lines = ["## How requests are routed", "", f"{said} them. KV caches go from pool to pool by NIXL.", ""]
        return [*lines, *_alike(units)]
    if sum(unit.replicas for unit in units) == 1:
        return []
    names = scenarios_of(units)
    lines = ["## How the router shares requests", "", "Weight of one replica of each group, by scenario", ""]
    lines += ["| group | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    columns = [weights_of(units, name) for name in names]
    lines += [
        f"| `{unit.name}` | " + " | ".join(str(column[place]) for column in columns) + " |"
        for place, unit in enumerate(units)
    ]
    if len(names) > 1:
        lines += ["", "Clients name their scenario in the header `X-Scenario`."]
    return lines
