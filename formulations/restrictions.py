"""What the search leaves out though no formula of the costs needs it: each restriction by name, and how to lift it.

`solve` prints those that hold under "Assumed"; `explain` lifts what can be lifted and says where that saves a GPU.
Rules of a named engine are its own (`shardproof.formulations.engines.rules`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shardproof.formulations.deployment.loop_shapes import LOOP_CHUNKS
from shardproof.formulations.deployment.prefill import CHUNK_TOKENS
from shardproof.formulations.engines.rules import has_experts
from shardproof.formulations.engines.told import HIGHEST_UTILISATION
from shardproof.instances.instance import Instance
from shardproof.instances.workload import ClosedLoop


@dataclass(frozen=True)
class Restriction:
    """One restriction: what it says, of which instances it holds, and how it is lifted (empty: it is not)."""

    name: str
    sentence: str
    holds: Callable[[Instance], bool]
    lifted_by: str = ""

    def __str__(self) -> str:
        """Return the line that is printed."""
        return f"{self.name}: {self.sentence}{f' (lift it: {self.lifted_by})' if self.lifted_by else ''}"


def _always(instance: Instance) -> bool:
    del instance
    return True


def _leaves_chunks(instance: Instance) -> bool:
    return instance.engine != "any" and instance.engine_settings.max_num_batched_tokens is None


def _chooses_chunks(instance: Instance) -> bool:
    return _leaves_chunks(instance) and _has_bursts(instance)


def _loops(instance: Instance) -> tuple[ClosedLoop, ...]:
    """Closed loops whose replicas both prefill and decode."""
    found = (scenario.workload for scenario in instance.scenarios)
    return tuple(workload for workload in found if isinstance(workload, ClosedLoop) and workload.phase == "both")


def _chooses_loop_chunks(instance: Instance) -> bool:
    return _leaves_chunks(instance) and any(not workload.independent for workload in _loops(instance))


def _keeps_default_chunks(instance: Instance) -> bool:
    return _leaves_chunks(instance) and any(workload.independent for workload in _loops(instance))


def _has_bursts(instance: Instance) -> bool:
    return any(scenario.workload.kind == "burst" for scenario in instance.scenarios)


def _has_loops(instance: Instance) -> bool:
    return any(scenario.workload.kind == "closed-loop" for scenario in instance.scenarios)


def _divides_nodes(instance: Instance) -> bool:
    return instance.stage_widths == "node-divisors" and instance.max_stage_gpus > 2


def _spans_nodes(instance: Instance) -> bool:
    return instance.max_gpus > instance.device.devices_per_node


def _chooses_utilisation(instance: Instance) -> bool:
    return instance.engine != "any" and instance.engine_settings.gpu_memory_utilization is None


RESTRICTIONS: tuple[Restriction, ...] = (
    Restriction(
        "stage_widths",
        "a stage's GPUs divide a node's, or are whole nodes",
        _divides_nodes,
        "stage_widths: any",
    ),
    Restriction(
        "contiguous_layers",
        "a stage holds whole layers that follow each other, the first the embedding, the last the head",
        _always,
    ),
    Restriction("same_degrees", "all layers of a stage run the same TP, DP and EP", _always),
    Restriction(
        "same_layout",
        "the same stages serve prefill and decode, and every scenario that a replica takes requests of",
        lambda instance: instance.serving == "together",
        "serving: apart or any",
    ),
    Restriction(
        "equal_microbatches",
        "all prefill microbatches of a replica are of one size, the last is charged in full",
        _has_bursts,
    ),
    Restriction(
        "chunk_sizes",
        f"chunks of {', '.join(map(str, sorted(CHUNK_TOKENS)))} tokens, of one prompt on each attention replica",
        _chooses_chunks,
        "engine.max_num_batched_tokens",
    ),
    Restriction(
        "loop_chunks",
        "an iteration of a closed loop takes the engine's default of tokens, or fewer: "
        + " or ".join(map(str, LOOP_CHUNKS)),
        _chooses_loop_chunks,
        "engine.max_num_batched_tokens",
    ),
    Restriction(
        "default_chunks",
        "where requests come one by one, an iteration takes the engine's default of tokens",
        _keeps_default_chunks,
        "engine.max_num_batched_tokens",
    ),
    Restriction(
        "loop_microbatches",
        "a closed loop decodes in no more microbatches than a plan has stages",
        _has_loops,
    ),
    Restriction(
        "spanning_replicas",
        "in a replica of several nodes every hand-over between stages takes the scale-out link",
        _spans_nodes,
    ),
    Restriction(
        "expert_slots",
        "an expert-parallel rank has the fewest slots that hold every expert, or one more",
        lambda instance: instance.load_profile is not None and has_experts(instance),
    ),
    Restriction(
        "memory_utilisation",
        f"an engine is told to use at most {float(HIGHEST_UTILISATION):.0%} of a device",
        _chooses_utilisation,
        "engine.gpu_memory_utilization",
    ),
)
"""`replicas`, `max_gpus`, `max_stage_gpus` and whole prompts are said where the question is resolved."""


def restrictions_of(instance: Instance) -> tuple[str, ...]:
    """Return the lines of the restrictions that hold of an instance."""
    return tuple(str(one) for one in RESTRICTIONS if one.holds(instance))
