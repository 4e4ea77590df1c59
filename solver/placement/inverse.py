"""The other way round: the fewest redundant experts per layer that reach a given balance.

Ranks may hold different numbers of replicas. A layer's answer is the first count for which a placement
is found; counts whose bound is already too high are skipped, so the answer is proven fewest when it is
the first count that its bound allows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from shardproof.formulations.placement.bounds import simple_bound
from shardproof.formulations.placement.check import largest_even_load
from shardproof.formulations.placement.problem import LayerProblem, PlacementRules, Slots, layer_problem
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.reading import refuse
from shardproof.solver.placement.greedy import greedy_slots
from shardproof.solver.placement.layers import place_layers
from shardproof.solver.placement.work import PlaceSettings

_SECONDS_PER_COUNT = 4.0


@dataclass(frozen=True)
class LayerFewest:
    """One layer: ``redundant`` replicas reach the limit, ``fewest`` is a bound below every count that does.

    ``greedy_redundant`` is what the greedy needs when slots must divide by ranks. ``None``: not reached.
    """

    layer: int
    redundant: int | None
    fewest: int
    imbalance: Fraction | None
    greedy_redundant: int | None
    slots: Slots | None

    @property
    def status(self) -> str:
        """``optimal`` when no smaller count is possible, ``undecided`` when no count was found."""
        if self.redundant is None:
            return "undecided"
        return "optimal" if self.redundant == self.fewest else "feasible"


@dataclass(frozen=True)
class FewestResult:
    """Fewest redundant experts of all layers for one limit on largest over mean rank load."""

    limit: Fraction
    layers: tuple[LayerFewest, ...]
    seconds: float

    @property
    def reached(self) -> bool:
        """Whether every layer reaches the limit."""
        return all(found.redundant is not None for found in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``place --max-imbalance --json`` prints."""
        rows = [
            {
                "layer": found.layer,
                "redundant": found.redundant,
                "fewest": found.fewest,
                "status": found.status,
                "imbalance": None if found.imbalance is None else float(found.imbalance),
                "greedy_redundant": found.greedy_redundant,
                "slots": found.slots,
            }
            for found in self.layers
        ]
        return {"max_imbalance": float(self.limit), "layers": rows, "seconds": round(self.seconds, 3)}

    def lines(self) -> list[str]:
        """Return the result as lines of text."""
        lines = [
            f"layer {found.layer}: {found.redundant if found.redundant is not None else 'not reached'} "
            f"(at least {found.fewest}; the greedy with equal slots: {found.greedy_redundant}) {found.status}"
            for found in self.layers
        ]
        counts = [found.redundant for found in self.layers if found.redundant is not None]
        if counts:
            lines.append(f"mean {sum(counts) / len(counts):.2f} redundant experts per layer, most {max(counts)}")
        return lines


def fewest_redundant(
    profiles: Sequence[LoadProfile],
    rules: PlacementRules,
    settings: PlaceSettings,
    *,
    limit: Fraction,
    layer_numbers: Sequence[int] | None = None,
) -> FewestResult:
    """Find, per layer, the fewest redundant experts whose largest rank load is ``limit`` times the mean.

    ``rules.redundant`` is ignored, ranks may be filled unevenly. Raises `InputError` with groups or a
    free split, for which the question is not answered.
    """
    if rules.grouped or rules.split == "free":
        raise refuse("place", "leave out --groups and --split free", field="--max-imbalance")
    begun = time.monotonic()
    count = profiles[0].layers
    most = max(2 * rules.ranks, profiles[0].experts)
    lower = [_first_allowed(profiles, layer, rules, limit, most=most) for layer in range(count)]
    found: dict[int, tuple[int, Slots, Fraction]] = {}
    for redundant in range(min(lower), most + 1):
        waiting = [layer for layer in range(count) if layer not in found and lower[layer] <= redundant]
        left = settings.time_limit - (time.monotonic() - begun)
        if left <= 0 or len(found) == count:
            break
        problems = [_problem(profiles, layer, rules, redundant) for layer in waiting]
        tried = replace(settings, time_limit=min(left, _SECONDS_PER_COUNT), enough=limit, sharpen=False, target_gap=0.0)
        for layer, problem, answer in zip(waiting, problems, place_layers(problems, tried), strict=True):
            if answer.load <= limit * problem.mean:
                imbalance = answer.load / problem.mean if problem.mean else Fraction(1)
                found[layer] = (redundant, answer.slots, imbalance)
    numbers = layer_numbers if layer_numbers is not None else range(count)
    layers = tuple(
        _layer(number, found.get(layer), lower[layer], _greedy_needs(profiles, layer, rules, limit, most=most))
        for layer, number in enumerate(numbers)
    )
    return FewestResult(limit, layers, time.monotonic() - begun)


def _layer(number: int, found: tuple[int, Slots, Fraction] | None, fewest: int, greedy: int | None) -> LayerFewest:
    if found is None:
        return LayerFewest(number, None, fewest, None, greedy, None)
    redundant, slots, imbalance = found
    return LayerFewest(number, redundant, fewest, imbalance, greedy, slots)


def _problem(profiles: Sequence[LoadProfile], layer: int, rules: PlacementRules, redundant: int) -> LayerProblem:
    return layer_problem(profiles, layer, rules.model_copy(update={"redundant": redundant, "uneven": True}))


def _first_allowed(
    profiles: Sequence[LoadProfile], layer: int, rules: PlacementRules, limit: Fraction, *, most: int
) -> int:
    """Return the first count that the bounds do not refute.

    The heaviest replica's bound falls with every copy, so counts below are refuted too; the company and
    crowd bounds apply to single counts only and are asked for each.
    """
    for redundant in range(most + 1):
        problem = _problem(profiles, layer, rules, redundant)
        if simple_bound(problem).value <= limit * problem.mean:
            return redundant
    return most + 1


def _greedy_needs(
    profiles: Sequence[LoadProfile], layer: int, rules: PlacementRules, limit: Fraction, *, most: int
) -> int | None:
    first = -profiles[0].experts % rules.ranks
    for redundant in range(first, most + 1, rules.ranks):
        problem = _problem(profiles, layer, rules, redundant)
        if largest_even_load(problem, greedy_slots(problem)) <= limit * problem.mean:
            return redundant
    return None
