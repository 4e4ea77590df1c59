"""What `shardproof place` found: a placement per layer, its bound, and the documented JSON."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from shardproof.formulations.placement.bounds import LowerBound
from shardproof.formulations.placement.problem import LayerProblem, PlacementRules, Slots

Status = Literal["optimal", "feasible"]


@dataclass(frozen=True)
class LayerPlacement:
    """One layer: where experts live, the load of the most loaded rank, and a bound below every placement.

    ``layer`` is the model's number of the layer, ``greedy_load`` what the greedy baseline reaches. Loads
    are in the profile's integer units.
    """

    layer: int
    problem: LayerProblem
    slots: Slots
    max_load: Fraction
    greedy_load: Fraction
    bound: LowerBound
    moved: int | None = None
    remote_share: Fraction | None = None

    @property
    def status(self) -> Status:
        """``optimal`` when the bound is met."""
        return "optimal" if self.max_load == self.bound.value else "feasible"

    @property
    def gap(self) -> Fraction:
        """Return the excess over the bound, as a share of the bound (0 for a layer without load)."""
        return self.max_load / self.bound.value - 1 if self.bound.value else Fraction(0)

    @property
    def imbalance(self) -> Fraction:
        """Largest rank load over mean rank load (1 for a layer without load)."""
        return self.max_load / self.problem.mean if self.problem.mean else Fraction(1)


@dataclass(frozen=True)
class PlacementResult:
    """Placements of all layers under one set of rules; ``denominator`` turns loads into the profile's unit."""

    rules: PlacementRules
    profiles: tuple[str, ...]
    denominator: int
    layers: tuple[LayerPlacement, ...]
    seconds: float
    stop_reason: str
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``place --json`` prints."""
        return {
            "layers": [self._layer_json(found) for found in self.layers],
            "physical_to_logical_map": [[expert for rank in found.slots for expert in rank] for found in self.layers],
            "seconds": round(self.seconds, 3),
            "stop_reason": self.stop_reason,
            "rules": self.rules.model_dump(),
            "profiles": list(self.profiles),
            "seed": self.seed,
            "summary": self.summary(),
        }

    def summary(self) -> dict[str, float | int]:
        """Return the figures of all layers together."""
        gaps = sorted(float(found.gap) for found in self.layers)
        return {
            "layers": len(self.layers),
            "optimal": sum(found.status == "optimal" for found in self.layers),
            "median_gap": gaps[len(gaps) // 2],
            "p95_gap": gaps[min(len(gaps) - 1, -(-len(gaps) * 95 // 100) - 1)],
            "worst_gap": gaps[-1],
            "mean_imbalance": float(sum(found.imbalance for found in self.layers) / len(self.layers)),
            "greedy_imbalance": sum(
                float(found.greedy_load / found.problem.mean) if found.problem.mean else 1.0 for found in self.layers
            )
            / len(self.layers),
        }

    def _layer_json(self, found: LayerPlacement) -> dict[str, Any]:
        row: dict[str, Any] = {
            "layer": found.layer,
            "max_load": self._number(found.max_load),
            "mean_load": self._number(found.problem.mean),
            "bound": self._number(found.bound.value),
            "gap": float(found.gap),
            "status": found.status,
            "argument": found.bound.argument,
            "greedy_load": self._number(found.greedy_load),
        }
        if found.moved is not None:
            row["moved"] = found.moved
        if found.remote_share is not None:
            row["remote_share"] = float(found.remote_share)
        return row

    def _number(self, load: Fraction) -> float:
        return float(load / self.denominator)
