"""`place`: where every expert lives, so that the most loaded rank is as light as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shardproof.instances.errors import InputError
from shardproof.solver.api.options import check_options
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.solver.placement.inverse import FewestResult
    from shardproof.solver.placement.request import PlaceRequest
    from shardproof.solver.placement.result import PlacementResult


@dataclass(frozen=True, repr=False, eq=False)
class Placed(Answered):
    """A placement of every layer's experts, with a lower bound below each."""

    request: PlaceRequest
    result: PlacementResult

    @property
    def plan(self) -> tuple[tuple[int, ...], ...]:
        """Per layer, the expert on each slot, rank by rank (``physical_to_logical_map``)."""
        return tuple(tuple(expert for rank in found.slots for expert in rank) for found in self.result.layers)

    @property
    def metrics(self) -> Mapping[str, float | int]:
        """Gaps and imbalances of all layers together."""
        return self.result.summary()

    def certificate(self) -> dict[str, Any]:
        """Return the certificate that `shardproof.verify` accepts: loads, placement and bounds."""
        from shardproof.solver.placement.certificate import certificate

        return certificate(self.result)

    def export(self, engine: str) -> str:
        """Return the file that an engine loads: ``sglang``, ``tensorrt-llm`` or ``vllm-ascend``.

        Raises
        ------
        InputError
            If the engine loads no placement, or not one with empty slots.
        """
        from shardproof.solver.placement.exporters.full_map import full_map
        from shardproof.solver.placement.exporters.placement_files import PLACEMENT_EXPORTERS, placement_exporter

        exporter = placement_exporter(engine)
        if exporter is None:
            known = ", ".join(found.name for found in PLACEMENT_EXPORTERS)
            raise InputError(f"export: {engine}: loads no placement from a file; known: {known}")
        return exporter.write(full_map(self.result, layer_count=self.request.subject.layer_count))

    def heatmap(self, path: str | Path) -> None:
        """Draw rank loads before and after to a PNG or SVG file.

        Raises
        ------
        InputError
            If the file has another ending, or matplotlib is not installed.
        """
        from shardproof.solver.placement.heatmap import draw_heatmap
        from shardproof.solver.placement.place import current_slots

        old = current_slots(self.request.current, [found.problem for found in self.result.layers])
        before = [slots for slots in old if slots is not None]
        draw_heatmap(self.result, Path(path), before=before or None)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``place --json`` prints."""
        return self.result.to_json()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each layer; loads are in the profile's unit."""
        found: list[dict[str, Any]] = self.to_dict()["layers"]
        return found

    def __str__(self) -> str:
        """Return the figures of all layers."""
        summary = self.metrics
        return (
            f"{summary['layers']} layers on {self.result.rules.ranks} ranks: median gap {summary['median_gap']:.3%}, "
            f"{summary['optimal']} proven optimal; {self.result.seconds:.1f} s, {self.result.stop_reason}"
        )

    def __repr__(self) -> str:
        """Return one line."""
        return f"Placed({str(self)!r})"


@dataclass(frozen=True, repr=False, eq=False)
class PlacedWithin(Answered):
    """The fewest replicas of each layer that reach an imbalance, with a bound below every count that does."""

    request: PlaceRequest
    result: FewestResult

    @property
    def exit_code(self) -> int:
        """0 where every layer reaches the limit, 3 otherwise."""
        return 0 if self.result.reached else 3

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``place --max-imbalance --json`` prints."""
        return self.result.to_json()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each layer."""
        return [{key: value for key, value in row.items() if key != "slots"} for row in self.to_dict()["layers"]]

    def __str__(self) -> str:
        """Return one line for each layer."""
        return "\n".join(self.result.lines())

    def __repr__(self) -> str:
        """Return one line."""
        return f"PlacedWithin(max_imbalance={float(self.result.limit):g}, reached={self.result.reached})"


def placed(request: PlaceRequest) -> Placed:
    """Place the experts of a request that is already read."""
    from shardproof.solver.placement.place import place as search_placement

    found = search_placement(
        request.profiles,
        request.rules,
        request.settings,
        layer_numbers=request.subject.layer_numbers,
        current=request.current,
        current_file=request.current_file,
    )
    return Placed(request, found)


def placed_within(request: PlaceRequest) -> PlacedWithin:
    """Find the fewest replicas for a request that is already read."""
    from shardproof.solver.placement.inverse import fewest_redundant

    found = fewest_redundant(
        request.profiles,
        request.rules,
        request.settings,
        limit=request.max_imbalance or Fraction(1),
        layer_numbers=request.subject.layer_numbers,
    )
    return PlacedWithin(request, found)


def place(
    instance: str | Path | None = None,
    *,
    ranks: int,
    model: str | Path | None = None,
    experts: int | None = None,
    layers: int | None = None,
    profile: str | Path | Sequence[str | Path] = (),
    serve: Literal["average", "worst"] = "average",
    weights: Sequence[float | str] | str | None = None,
    redundant: int = 0,
    split: Literal["even", "free"] = "even",
    distinct: bool = False,
    uneven: bool = False,
    groups: int | None = None,
    nodes: int = 1,
    current: str | Path | None = None,
    time_limit: float | str = "60 s",
    gap: float | str = "0.1%",
    workers: int = 2,
    seed: int = 0,
) -> Placed:
    """Place the experts of every layer under a load profile.

    Parameters
    ----------
    instance, model, experts, layers
        What is placed: the model of an instance file, a model, or so many experts in so many layers.
    ranks, redundant
        Expert-parallel ranks, and replicas of each layer beyond one per expert.
    profile, serve, weights
        Load profiles (files, or ``"zipf:0.9"`` ...); of several, the average, the worst, or a weighted mix.
    split, distinct, uneven, groups, nodes
        Rules: how replicas share load, what a rank may hold, groups of experts that stay on a node.
    current
        Placement in force (``--from``): few experts move.
    time_limit, gap
        Stop after this time (seconds, or text with a unit) or at this gap to the bound.
    workers, seed
        Processes, and the seed of the search.

    Raises
    ------
    InputError
        If a file, a name or a rule is wrong.
    """
    options = {name: value for name, value in locals().items() if name != "gap"}
    return placed(_request(options | {"target_gap": gap, "max_imbalance": None}))


def place_within(
    instance: str | Path | None = None,
    *,
    max_imbalance: float | str,
    ranks: int,
    model: str | Path | None = None,
    experts: int | None = None,
    layers: int | None = None,
    profile: str | Path | Sequence[str | Path] = (),
    serve: Literal["average", "worst"] = "average",
    weights: Sequence[float | str] | str | None = None,
    distinct: bool = False,
    time_limit: float | str = "60 s",
    gap: float | str = "0.1%",
    workers: int = 2,
    seed: int = 0,
) -> PlacedWithin:
    """Find the fewest replicas of each layer with which its most loaded rank is within an imbalance.

    Parameters
    ----------
    max_imbalance
        Largest over mean rank load, 1 or more (``--max-imbalance``).

    Other parameters are those of `place`.

    Raises
    ------
    InputError
        If a file, a name or a rule is wrong.
    """
    options = {name: value for name, value in locals().items() if name != "gap"}
    fixed = {"redundant": 0, "split": "even", "uneven": False, "groups": None, "nodes": 1, "current": None}
    return placed_within(_request(options | fixed | {"target_gap": gap}))


def _request(options: Mapping[str, Any]) -> PlaceRequest:
    """Write the keywords as the command line would and read them as it does."""
    from shardproof.solver.placement.request import place_request

    check_options("place", options)
    profile, limit, weights = options["profile"], options["time_limit"], options["weights"]
    mixed = weights if isinstance(weights, str) or weights is None else ",".join(map(str, weights))
    imbalance = options["max_imbalance"]
    return place_request(
        {
            **options,
            "instance": _path(options["instance"]),
            "model": None if options["model"] is None else str(options["model"]),
            "profiles": (str(profile),) if isinstance(profile, str | Path) else tuple(map(str, profile)),
            "weights": mixed,
            "current": _path(options["current"]),
            "time_limit": limit if isinstance(limit, str) else f"{limit} s",
            "target_gap": str(options["target_gap"]),
            "max_imbalance": None if imbalance is None else str(imbalance),
            "exports": (),
        }
    )


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
