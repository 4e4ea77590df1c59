"""The placement of all layers of a model, as the engines' files need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shardproof.formulations.placement.problem import NO_EXPERT
from shardproof.instances.reading import refuse
from shardproof.solver.placement.result import PlacementResult


@dataclass(frozen=True)
class FullMap:
    """``rows[layer]`` is the map of a mixture-of-experts layer, slot by slot, rank by rank.

    ``rows`` is keyed by the model's own layer number; ``layer_count`` counts dense layers too.
    """

    rows: dict[int, tuple[int, ...]]
    layer_count: int
    experts: int
    ranks: int

    @property
    def slots(self) -> int:
        """Physical experts per layer."""
        return len(next(iter(self.rows.values())))

    @property
    def plain_row(self) -> tuple[int, ...]:
        """Experts in order, then again from the first: what a layer without a placement gets."""
        return tuple(slot % self.experts for slot in range(self.slots))


def full_map(result: PlacementResult, *, layer_count: int | None = None) -> FullMap:
    """Collect a result's layers; refuses empty slots, which no engine can load."""
    rows = {found.layer: tuple(e for rank in found.slots for e in rank) for found in result.layers}
    for layer, row in rows.items():
        if NO_EXPERT in row:
            remedy = "no engine loads ranks of unequal slots; choose --redundant so that slots divide by ranks"
            raise refuse("--export", remedy, field=f"layer {layer}", value="empty slot")
    count = layer_count if layer_count is not None else max(rows) + 1
    return FullMap(rows, count, result.layers[0].problem.experts, result.rules.ranks)


def rank_rows(full: FullMap, row: Sequence[int]) -> list[list[int]]:
    """Cut a layer's map into one list of experts per rank."""
    width = full.slots // full.ranks
    return [list(row[rank * width : (rank + 1) * width]) for rank in range(full.ranks)]
