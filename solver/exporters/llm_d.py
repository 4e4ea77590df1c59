"""llm-d: values of the modelservice chart, a Deployment or (``multinode``) a LeaderWorkerSet of decode pods.

With prefill apart, a sidecar before each decode server has the prompt prefilled first.

Source: the chart's values (llm-d-modelservice): ``modelCommand: custom`` takes command and arguments as they stand;
with ``multinode`` every pod of a group runs the same container and knows its place by ``LWS_WORKER_INDEX``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardproof.solver.exporters.apart import is_apart, on_port, pools_of, stem_of
from shardproof.solver.exporters.images import NVIDIA, resource_of, selector_of
from shardproof.solver.exporters.kubernetes import leader_and_worker
from shardproof.solver.exporters.pods import pod
from shardproof.solver.exporters.text import alone, cannot, shell_words, to_yaml
from shardproof.solver.exporters.units import PORT, Unit

TARGET = "llm-d"
BEHIND_PROXY = 8200
"""Port of a decode server behind its sidecar, which listens on the service's."""


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return the values of one release."""
    prefill = None
    if is_apart(units):
        prefill, unit = pools_of(units, TARGET)
        unit = on_port(unit, BEHIND_PROXY)
    else:
        unit = alone(units, TARGET, "its scheduler routes by load and cached prefixes, and takes no weights of pods")
    if unit.engine != "vllm":
        raise cannot(TARGET, f"modelservice starts vLLM, the plan is for {unit.engine}", field="engine")
    kind = "nvidia" if resource_of(unit, TARGET) == NVIDIA else "amd"
    values: dict[str, Any] = {
        "modelArtifacts": {"name": unit.model, "uri": f"hf://{unit.model}"},
        "multinode": any(one.nodes > 1 for one in units),
        "accelerator": {"type": kind},
        "routing": {"servicePort": PORT, "proxy": _proxy(prefill is not None)},
        "decode": _pool(unit),
        "prefill": {"create": False} if prefill is None else _pool(prefill),
    }
    return {f"{stem_of(units)}.values.yaml": to_yaml(values)}


def _proxy(apart: bool) -> dict[str, Any]:
    """The sidecar before each decode server sends a request's prompt to the prefill pool first."""
    return {"enabled": True, "connector": "nixlv2", "targetPort": BEHIND_PROXY} if apart else {"enabled": False}


def _script(unit: Unit) -> str:
    """Return the command of every pod of a group: it differs by rank, and all but the first serve no requests."""
    leader, worker = leader_and_worker(unit, TARGET)
    words = list(leader.words)
    for flag, rank in (("--node-rank", "$LWS_WORKER_INDEX"), ("--data-parallel-start-rank", None)):
        if flag in words:
            place = words.index(flag) + 1
            local = worker.words[worker.words.index(flag) + 1]
            words[place] = rank or (local if "LWS" in local else f"$(({local} * LWS_WORKER_INDEX))")
    return f'[ "$LWS_WORKER_INDEX" = 0 ] || others=--headless; exec {shell_words(words)} $others'


def _pool(unit: Unit) -> dict[str, Any]:
    option = unit.told.option
    spec = pod(unit, unit.processes[0], TARGET)
    if unit.pool == "decode":
        spec["containers"][0]["ports"] = [{"name": "http", "containerPort": BEHIND_PROXY}]
    container = spec["containers"][0] | {"name": "vllm", "modelCommand": "custom", "mountModelVolume": False}
    if unit.nodes > 1:
        container |= {"command": ["/bin/bash", "-c"], "args": [_script(unit)]}
        container = {key: value for key, value in container.items() if not key.endswith("Probe")}
    local = option.attn_dp // unit.nodes if option.attn_dp % unit.nodes == 0 and option.attn_dp > 1 else option.attn_dp
    selector = selector_of(unit)
    found: dict[str, Any] = {"create": True, "replicas": unit.replicas}
    found["parallelism"] = {
        "tensor": option.attn_tp,
        "data": option.attn_dp,
        "dataLocal": local,
        "workers": unit.nodes,
    }
    found |= {"nodeSelector": selector} if selector else {}
    return found | {"containers": [container], "volumes": spec["volumes"]}
