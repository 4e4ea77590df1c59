"""What a search found: status, bound and why it stopped kept apart; absent is ``None``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.proof.evidence import Evidence, Level, StopReason

Status = Literal["optimal", "feasible", "infeasible", "undecided"]
Proof = Literal["certified-optimal", "certified-gap", "solver-claimed", "none"]
HOW_SURE: dict[Proof, str] = {
    "certified-optimal": "certified",
    "certified-gap": "certified",
    "solver-claimed": "claimed by the search, not certified",
    "none": "claimed by the search, not certified",
}
"""What a proof says of a bound, in words."""

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


class EngineDocument(Record):
    """What one engine comes to where none is named: GPUs of its best plan (``null``: none better was looked for).

    ``bound``: fewest GPUs that it can do with (``null``: it has no plan); ``note``: why it is left out.
    """

    engine: str
    gpus: int | None
    bound: int | None
    ttft_s: float | None
    proof: Proof
    chosen: bool
    note: str = ""


@dataclass(frozen=True)
class EngineAnswer:
    """The same, with the evidence behind it and the question that it is the answer to."""

    engine: str
    gpus: int | None
    bound: int | None
    ttft_s: float | None
    proof: Proof
    chosen: bool
    note: str = ""
    instance: Instance | None = None
    evidence: Evidence | None = None

    def to_document(self) -> EngineDocument:
        """Return what ``solve --json`` says of it."""
        return EngineDocument(**{name: getattr(self, name) for name in EngineDocument.model_fields})


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
    engine: str | None = None
    engines: tuple[EngineDocument, ...] = ()
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
    engine: str | None = None
    """Engine that the plan is for (``any``: free of an engine's rules)."""
    engines: tuple[EngineAnswer, ...] = ()
    """Where no engine was named, what each of them comes to; one is chosen."""
    question: Instance | None = None
    """The question under the engine that was chosen (``None``: as it was asked)."""

    pools: Mapping[str, Result] = field(default_factory=dict)
    """Answers that this one is made of: ``prefill`` and ``decode``; ``together`` beside them where it was allowed."""
    fleets: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """By engine the certificate that no mix of replicas of one phase and of both has fewer GPUs, the chosen first."""

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
            engine=self.engine,
            engines=tuple(one.to_document() for one in self.engines),
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
