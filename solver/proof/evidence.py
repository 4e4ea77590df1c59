"""What a search leaves behind that a certificate is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.tables import Program
from shardproof.formulations.fleet.fleet import Fleet
from shardproof.solver.proof.refutation import CapacityClaim, Refutation

StopReason = Literal["proved", "time-limit", "interrupted", "search-limit"]


@dataclass(frozen=True)
class Level:
    """One lexicographic level: the value reached and the proven bound (``None``: no bound)."""

    value: int | None
    bound: int | None

    @property
    def proven(self) -> bool:
        """Whether value and bound agree."""
        return self.value is not None and self.value == self.bound


@dataclass(frozen=True)
class Evidence:
    """What a certificate is made of: the integer program, the chain, and the refutation of each level."""

    program: Program
    chain: Chain | None
    levels: dict[str, Level]
    refutations: dict[str, Refutation]
    claimed_by: str | None = None
    """Who says so where no refutation stands behind a bound: ``claimed by ...`` or ``agreed by ...``."""
    fleet: Fleet | None = None
    """The plan, where its replicas are not alike."""
    capacities: Mapping[str, tuple[CapacityClaim, ...]] = field(default_factory=dict)
    """Per level the loads refused to single replicas, where a fleet was searched."""
    replicas: str = "alike"
    """Whether replicas must be ``alike`` or are ``free`` to differ."""
    infeasible: bool = False
