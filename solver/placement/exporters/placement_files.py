"""The engines that can load an expert placement from a file; every exporter stands in this one list.

Upstream vLLM is not among them: it computes its own placement (EPLB) and imports none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shardproof.solver.placement.exporters import sglang_placement, tensorrt_llm_placement, vllm_ascend_placement
from shardproof.solver.placement.exporters.full_map import FullMap


@dataclass(frozen=True)
class PlacementExporter:
    """One engine's file: its name on the command line, the option that loads it, and who writes it.

    ``distinct``: the engine loads no device that holds an expert twice; placements for it are searched that way.
    """

    name: str
    loaded_by: str
    write: Callable[[FullMap], str]
    distinct: bool = False


PLACEMENT_EXPORTERS: tuple[PlacementExporter, ...] = (
    PlacementExporter("sglang", "--init-expert-location FILE", sglang_placement.write),
    PlacementExporter("tensorrt-llm", "moe_config.load_balancer: FILE", tensorrt_llm_placement.write),
    PlacementExporter("vllm-ascend", "expert_map_path: FILE", vllm_ascend_placement.write, distinct=True),
)


def placement_exporter(name: str) -> PlacementExporter | None:
    """Return the exporter of an engine, or ``None``."""
    return next((exporter for exporter in PLACEMENT_EXPORTERS if exporter.name == name), None)
