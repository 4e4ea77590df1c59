"""Expert placement: where every expert of a layer lives, and which experts are replicated.

A layer's problem is the loads of its experts (one row per profile that must be served) and the rules.
A placement is, per rank, the experts that its slots hold; ``NO_EXPERT`` marks a slot left empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb, factorial
from typing import Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.load_profile.profile import LoadProfile
from shardproof.instances.reading import refuse

NO_EXPERT = -1

Slots = tuple[tuple[int, ...], ...]
"""``slots[rank][slot]``: the expert that lives there, or `NO_EXPERT`."""


class PlacementRules(Record):
    """What a placement has to keep.

    ``split``: a replica serves an equal part of its expert's load (``even``, as engines do) or any part
    (``free``). ``distinct``: no rank holds two replicas of one expert. ``uneven``: ranks may leave slots
    empty, so that ``experts + redundant`` need not divide by ``ranks``. ``groups`` consecutive groups of
    experts, each wholly on one of ``nodes`` nodes (group-limited routing); ``nodes`` alone binds nothing.
    """

    ranks: int = Field(ge=1)
    redundant: int = Field(default=0, ge=0)
    split: Literal["even", "free"] = "even"
    distinct: bool = False
    uneven: bool = False
    groups: int | None = Field(default=None, ge=1)
    nodes: int = Field(default=1, ge=1)

    @property
    def grouped(self) -> bool:
        """Whether groups bind experts to nodes."""
        return self.groups is not None and self.nodes > 1


@dataclass(frozen=True)
class LayerProblem:
    """One layer: ``loads[profile][expert]`` in integer units, ``filled`` replicas on ``ranks`` ranks.

    ``width`` is the number of slots of every rank; ``filled < ranks * width`` leaves slots empty.
    """

    loads: tuple[tuple[int, ...], ...]
    ranks: int
    filled: int
    width: int
    distinct: bool = False
    split: Literal["even", "free"] = "even"

    @property
    def experts(self) -> int:
        """Number of experts."""
        return len(self.loads[0])

    @property
    def most_copies(self) -> int:
        """Most replicas that one expert can have: every other expert needs one slot."""
        spare = self.filled - self.experts + 1
        return min(spare, self.ranks) if self.distinct else spare

    @property
    def mean(self) -> Fraction:
        """Load of a rank if all ranks were equal, under the heaviest profile."""
        return Fraction(max(sum(row) for row in self.loads), self.ranks)


def check_rules(rules: PlacementRules, experts: int) -> None:
    """Refuse rules that no placement of ``experts`` experts can keep, with the nearest that can."""
    filled = experts + rules.redundant
    if filled % rules.ranks and not rules.uneven:
        fewer, more = filled // rules.ranks * rules.ranks - experts, -(-filled // rules.ranks) * rules.ranks - experts
        nearest = " or ".join(str(value) for value in (fewer, more) if value >= 0)
        remedy = (
            f"{experts} experts + {rules.redundant} do not divide by {rules.ranks} ranks; use {nearest}, or --uneven"
        )
        raise refuse("placement", remedy, field="redundant", value=str(rules.redundant))
    if rules.distinct and filled > experts * rules.ranks:
        remedy = f"--distinct allows at most {experts * rules.ranks - experts} with {rules.ranks} ranks"
        raise refuse("placement", remedy, field="redundant", value=str(rules.redundant))
    if rules.ranks % rules.nodes:
        raise refuse("placement", f"must divide {rules.ranks} ranks", field="nodes", value=str(rules.nodes))
    if rules.grouped:
        _check_groups(rules, experts)


def _check_groups(rules: PlacementRules, experts: int) -> None:
    groups = rules.groups or 1
    if experts % groups:
        raise refuse("placement", f"must divide {experts} experts", field="groups", value=str(groups))
    if groups % rules.nodes:
        remedy = f"must divide {groups} groups; leave --groups out to place without them"
        raise refuse("placement", remedy, field="nodes", value=str(rules.nodes))
    if rules.uneven:
        raise refuse("placement", "uneven slots with groups on nodes are not supported", field="uneven")
    sides = factorial(groups) // factorial(groups // rules.nodes) ** rules.nodes // factorial(rules.nodes)
    if sides > MOST_PARTITIONS:
        remedy = f"{groups} groups on {rules.nodes} nodes are {sides} partitions, more than {MOST_PARTITIONS}"
        raise refuse("placement", remedy, field="groups", value=str(groups))


MOST_PARTITIONS = comb(16, 8)
"""Partitions of groups over nodes that are enumerated at most."""


def layer_problem(profiles: Sequence[LoadProfile], layer: int, rules: PlacementRules) -> LayerProblem:
    """Return one layer's problem without its groups (see `shardproof.formulations.placement.groups`)."""
    filled = profiles[0].experts + rules.redundant
    return LayerProblem(
        loads=tuple(profile.loads[layer] for profile in profiles),
        ranks=rules.ranks,
        filled=filled,
        width=-(-filled // rules.ranks),
        distinct=rules.distinct,
        split=rules.split,
    )
