"""What the search of one program has established so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.chains import Chain
from shardproof.solver.proof.evidence import Level, StopReason
from shardproof.solver.proof.refutation import Refutation


@dataclass
class Outcome:
    """What the search of one program has established so far; the chain is one of ``deployment``'s program."""

    deployment: Deployment | None = None
    chain: Chain | None = None
    infeasible: bool = False
    stop_reason: StopReason = "proved"
    claimed_by: str | None = None
    levels: dict[str, Level] = field(default_factory=dict)
    refutations: dict[str, Refutation] = field(default_factory=dict)
