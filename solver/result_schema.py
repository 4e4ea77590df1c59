"""The schema of the document that ``solve --json`` prints."""

from __future__ import annotations

from typing import Literal

from shardproof.instances.base import Record
from shardproof.instances.plan import Plan


class MetricsDocument(Record):
    """Figures of a plan; keys name their units, utilisation is 0 to 1."""

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


class ResultDocument(Record):
    """The answer to one instance."""

    status: Literal["optimal", "feasible", "infeasible", "undecided"]
    proof: Literal["certified-optimal", "certified-gap", "solver-claimed", "none"]
    gpus: int | None
    bound: int | None
    gap: float | None
    stop_reason: Literal["proved", "time-limit", "interrupted", "search-limit"]
    metrics: MetricsDocument | None
    plan: Plan | None
    placement: tuple[tuple[int, ...], ...] | None
    levels: dict[str, LevelDocument]
    explanation: tuple[str, ...]
    engine_flags: tuple[str, ...]
    assumptions: tuple[str, ...]
    instance_fingerprint: str
    versions: dict[str, str]
    seconds: float
