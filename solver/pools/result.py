"""What the search of pools found, and its document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shardproof.instances.base import Record
from shardproof.instances.fleet_plan import FleetPlan
from shardproof.instances.pools import Objective
from shardproof.solver.pools.outcome import Asked, PoolsOutcome
from shardproof.solver.pools.told import UNITS
from shardproof.solver.pools.work import Work
from shardproof.solver.proof.evidence import StopReason
from shardproof.solver.result import EXIT_CODES, Proof, Status


class FleetMetrics(Record):
    """Figures of a fleet; ``None`` where a device's figure is not known, or capacities were given as data."""

    gpus: int
    price_per_hour: float | None
    watts: float | None
    shapes: int
    ttft_s: float | None = None
    tpot_ms: float | None = None
    peak_memory_bytes: int | None = None
    output_tokens_per_s: float | None = None


class FleetDocument(Record):
    """The answer to a question about pools as ``solve --json`` prints it; ``value`` and ``bound`` in ``unit``."""

    status: Status
    proof: Proof
    objective: Objective
    value: float | None
    bound: float | None
    certified_bound: float | None
    gap: float | None
    unit: str
    gpus: int | None
    stop_reason: StopReason
    metrics: FleetMetrics | None
    plan: FleetPlan | None
    explanation: tuple[str, ...]
    assumptions: tuple[str, ...]
    instance_fingerprint: str
    versions: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class FleetResult:
    """The answer to a question about pools, with all that a certificate is made of; values in the program's integers.

    ``scale``: integers in one unit of the objective (of load: the resolution).
    """

    status: Status
    proof: Proof
    objective: Objective
    value: int | None
    bound: int | None
    certified_bound: int | None
    scale: int
    stop_reason: StopReason
    metrics: FleetMetrics | None
    plan: FleetPlan | None
    assumptions: tuple[str, ...]
    instance_fingerprint: str
    versions: dict[str, str]
    seconds: float
    explanation: tuple[str, ...]
    asked: Asked
    outcome: PoolsOutcome
    work: Work

    @property
    def gpus(self) -> int | None:
        """GPUs of the fleet."""
        return None if self.metrics is None else self.metrics.gpus

    @property
    def gap(self) -> float | None:
        """How far value and bound are apart, over the value."""
        if self.value is None or self.bound is None:
            return None
        return abs(self.value - self.bound) / self.value if self.value else 0.0

    @property
    def exit_code(self) -> int:
        """0 a fleet, 1 none exists, 3 undecided."""
        return EXIT_CODES[self.status]

    def shown(self, value: int | None) -> float | None:
        """Return a value in its unit."""
        return None if value is None else value / self.scale

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``solve --json`` prints."""
        document = FleetDocument(
            status=self.status,
            proof=self.proof,
            objective=self.objective,
            value=self.shown(self.value),
            bound=self.shown(self.bound),
            certified_bound=self.shown(self.certified_bound),
            gap=self.gap,
            unit=UNITS[self.objective][0],
            gpus=self.gpus,
            stop_reason=self.stop_reason,
            metrics=self.metrics,
            plan=self.plan,
            explanation=self.explanation,
            assumptions=self.assumptions,
            instance_fingerprint=self.instance_fingerprint,
            versions=self.versions,
            seconds=round(self.seconds, 6),
        )
        return document.model_dump(mode="json")
