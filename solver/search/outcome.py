"""What the search of one program has established so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.fleet.fleet import Fleet
from shardproof.solver.proof.evidence import Level, StopReason
from shardproof.solver.proof.refutation import CapacityClaim, Refutation


@dataclass
class Outcome:
    """What the search of one program has established so far; the chain is one of ``deployment``'s program."""

    deployment: Deployment | None = None
    chain: Chain | None = None
    infeasible: bool = False
    stop_reason: StopReason = "proved"
    claimed_by: str | None = None
    levels: dict[str, Level] = field(default_factory=dict)
    fleet: Fleet | None = None
    """The fleet found, where replicas that are not alike need fewer GPUs; the chain is then that of alike ones."""
    capacities: dict[str, tuple[CapacityClaim, ...]] = field(default_factory=dict)
    """Per level the loads refused to single replicas; together they refute every fleet below the bound."""
    alike: Level | None = None
    """GPUs of replicas that are all alike, where a mixed fleet was looked for too."""
    refutations: dict[str, Refutation] = field(default_factory=dict)
