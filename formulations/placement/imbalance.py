"""The imbalance table: what each expert-parallel width and slot count can do to each layer.

The master program multiplies a rank's mean load by these: lower bounds go into floor tables (what they
refute is impossible), achieved loads into ceiling tables (what they accept has a placement).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from shardproof.formulations.placement.bounds import simple_bound
from shardproof.formulations.placement.check import largest_even_load
from shardproof.formulations.placement.problem import LayerProblem, PlacementRules, Slots, layer_problem
from shardproof.instances.clock import check_time
from shardproof.instances.load_profile.profile import LoadProfile

Placer = Callable[[Sequence[LayerProblem]], Sequence[tuple[Slots, Fraction]]]
"""Places layers of equal shape; gives each its slots and a lower bound on the largest rank load."""


@dataclass(frozen=True)
class Imbalance:
    """Largest over mean rank load of one layer: ``lower`` no placement beats, ``achieved`` by ``slots``."""

    lower: Fraction
    achieved: Fraction
    slots: Slots


@dataclass(frozen=True)
class ImbalanceKey:
    """A cell of the table: a mixture-of-experts layer (counted from 0), expert-parallel ranks, slots per rank."""

    layer: int
    moe_ep: int
    slots_per_rank: int


def imbalance_table(
    profile: LoadProfile,
    *,
    moe_ep: Iterable[int],
    slots_per_rank: Callable[[int], Iterable[int]],
    place: Placer,
) -> dict[ImbalanceKey, Imbalance]:
    """Return the imbalance of every layer for every width and every slot count that can hold all experts.

    ``slots_per_rank`` lists the slot counts to try for a width; counts too small for all experts are left
    out. Equal layers are placed once. A width of 1 is balanced by itself.
    """
    table: dict[ImbalanceKey, Imbalance] = {}
    for ranks in moe_ep:
        for width in slots_per_rank(ranks):
            redundant = ranks * width - profile.experts
            if redundant < 0:
                continue
            rules = PlacementRules(ranks=ranks, redundant=redundant)
            problems = [layer_problem([profile], layer, rules) for layer in range(profile.layers)]
            unique = list(dict.fromkeys(problems))
            found = dict(zip(unique, place(unique), strict=True))
            for layer, problem in enumerate(problems):
                table[ImbalanceKey(layer, ranks, width)] = _imbalance(problem, *found[problem])
    return table


def fewest_slots(experts: int, ranks: int) -> int:
    """Return the slots per rank that hold every expert once."""
    return -(-experts // ranks)


def _imbalance(problem: LayerProblem, slots: Slots, bound: Fraction) -> Imbalance:
    check_time()
    if not problem.mean:
        return Imbalance(Fraction(1), Fraction(1), slots)
    lower = max(bound, simple_bound(problem).value)
    return Imbalance(lower / problem.mean, largest_even_load(problem, slots) / problem.mean, slots)
