"""What a search found: status, bound and why it stopped kept apart; absent is ``None``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.plan import Plan
from shardproof.solver.proof.evidence import Evidence, Level, StopReason

Status = Literal["optimal", "feasible", "infeasible", "undecided"]
Proof = Literal["certified-optimal", "certified-gap", "solver-claimed", "none"]

EXIT_CODES: dict[str, int] = {"optimal": 0, "feasible": 0, "infeasible": 1, "undecided": 3}


class Metrics(Record):
    """Figures of a plan; keys name their units. Times are of the slowest request; utilisation is of all GPUs, 0 to 1.

    ``compute_utilisation``: share of GPU-time until the last TTFT in which the plan's stages work; throughput is that
    of the first scenario.
    """

    ttft_s: float
    ttft_mean_s: float
    ttft_first_s: float
    tpot_ms: float
    peak_memory_bytes: int
    memory_utilisation: float
    compute_utilisation: float
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    output_tokens_per_s_per_gpu: float
    output_tokens_per_s_per_user: float


class LevelDocument(Record):
    """One lexicographic level (GPUs, ns of TTFT, bytes): value reached, proven bound, whether they agree."""

    value: int | None
    bound: int | None
    proven: bool


class PoolDocument(Record):
    """The answer for one pool alone, or for replicas that serve both phases, where both ways were allowed."""

    status: Status
    proof: Proof
    gpus: int | None
    bound: int | None


class ResultDocument(Record):
    """The answer to one instance as ``solve --json`` prints it."""

    status: Status
    proof: Proof
    gpus: int | None
    bound: int | None
    gap: float | None
    stop_reason: StopReason
    metrics: Metrics | None
    plan: Plan | None
    placement: tuple[tuple[int, ...], ...] | None
    levels: dict[str, LevelDocument]
    explanation: tuple[str, ...]
    engine_flags: tuple[str, ...]
    service: tuple[dict[str, Any], ...] = ()
    pools: dict[str, PoolDocument] = Field(default_factory=dict)
    assumptions: tuple[str, ...]
    instance_fingerprint: str
    versions: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class Result:
    """The answer to one instance, with the evidence behind it."""

    status: Status
    proof: Proof
    gpus: int | None
    bound: int | None
    stop_reason: StopReason
    metrics: Metrics | None
    plan: Plan | None
    assumptions: tuple[str, ...]
    instance_fingerprint: str
    versions: dict[str, str]
    seconds: float
    explanation: tuple[str, ...] = ()
    levels: dict[str, Level] = field(default_factory=dict)
    engine_flags: tuple[str, ...] = ()
    evidence: Evidence | None = None
    service: tuple[dict[str, Any], ...] = ()
    """What requests that come by themselves see of the plan: a document for each scenario, as ``simulate --json``."""

    pools: Mapping[str, Result] = field(default_factory=dict)
    """Answers that this one is made of: ``prefill`` and ``decode``; ``together`` beside them where it was allowed."""

    @property
    def gap(self) -> float | None:
        """(GPUs - bound) / GPUs; ``None`` without a plan or a bound."""
        if self.gpus is None or self.bound is None:
            return None
        return (self.gpus - self.bound) / self.gpus

    @property
    def exit_code(self) -> int:
        """0 a plan, 1 no plan exists, 3 undecided."""
        return EXIT_CODES[self.status]

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``solve --json`` prints."""
        levels = {
            name: LevelDocument(value=level.value, bound=level.bound, proven=level.proven)
            for name, level in self.levels.items()
        }
        document = ResultDocument(
            status=self.status,
            proof=self.proof,
            gpus=self.gpus,
            bound=self.bound,
            gap=self.gap,
            stop_reason=self.stop_reason,
            metrics=self.metrics,
            plan=self.plan,
            placement=None if self.plan is None else self.plan.placement,
            levels=levels,
            explanation=self.explanation,
            engine_flags=self.engine_flags,
            service=self.service,
            pools={
                name: PoolDocument(status=one.status, proof=one.proof, gpus=one.gpus, bound=one.bound)
                for name, one in self.pools.items()
            },
            assumptions=self.assumptions,
            instance_fingerprint=self.instance_fingerprint,
            versions=self.versions,
            seconds=round(self.seconds, 6),
        )
        return document.model_dump(mode="json")
