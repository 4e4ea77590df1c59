"""What completions say: the best plan with some stated parts fixed, or why there is none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from shardproof.instances.plan import Plan
from shardproof.solver.result import Status


@dataclass(frozen=True)
class CompletedFigures:
    """What the completed plan reaches."""

    ttft_s: float
    tpot_ms: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Completion:
    """What a search with some parts fixed found: a plan with its figures, or why there is none, in a sentence."""

    fixed: str
    status: Status
    sentence: str
    gpus: int | None = None
    bound: int | None = None
    plan: Plan | None = None
    metrics: CompletedFigures | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the completion as ``audit --json`` prints it."""
        return {
            "fixed": self.fixed,
            "status": self.status,
            "gpus": self.gpus,
            "bound": self.bound,
            "plan": None if self.plan is None else self.plan.model_dump(mode="json"),
            "metrics": None if self.metrics is None else asdict(self.metrics),
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Completions:
    """The completion of all stated parts, and those with parts given up; the last gives up all: the optimum."""

    stated: Completion
    relaxed: tuple[Completion, ...]

    @property
    def optimum(self) -> Completion:
        """The answer with nothing fixed."""
        return self.relaxed[-1]

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each search."""
        return tuple(f"{found.fixed}: {found.sentence}" for found in (self.stated, *self.relaxed))

    def to_json(self) -> dict[str, Any]:
        """Return the completions as ``audit --json`` prints them."""
        relaxed = [found.to_json() for found in self.relaxed]
        return {**self.stated.to_json(), "relaxed": relaxed, "sentences": list(self.sentences)}
