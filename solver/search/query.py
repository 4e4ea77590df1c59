"""What the exact search is asked, what it answers, and the two objectives that it lowers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from shardproof.formulations.deployment.chains import Chain, peak_memory, worst_ttft
from shardproof.formulations.deployment.tables import Cap, Path, Program
from shardproof.solver.proof.refutation import Refutation
from shardproof.solver.search.least_sums import NEVER


def group_of(row: Cap | Path) -> str:
    """Group of limits that a row belongs to: ``memory``, ``ttft``, ``tpot`` or the row's own name."""
    if isinstance(row, Cap) and row.memory:
        return "memory"
    return row.name.partition("[")[0].removesuffix("_slowest")


@dataclass(frozen=True)
class Query:
    """What is asked for: total GPUs, and the limits on TTFT rows and memory rows (``None``: as they are).

    ``ignored`` names groups of limits (`group_of`) that do not hold, to find out which ones matter.
    """

    gpus: int
    ttft: int | None = None
    memory: int | None = None
    ignored: frozenset[str] = frozenset()

    def cap_limit(self, cap: Cap) -> int:
        """Limit of a cap under this query."""
        if group_of(cap) in self.ignored:
            return NEVER
        return min(cap.limit, self.memory) if cap.memory and self.memory is not None else cap.limit

    def path_limit(self, path: Path) -> int | None:
        """Limit of a path under this query."""
        if group_of(path) in self.ignored:
            return None
        if not path.ttft or self.ttft is None:
            return path.limit
        return self.ttft if path.limit is None else min(path.limit, self.ttft)


@dataclass(frozen=True)
class Unknown:
    """A context that the exact search gave up on: a case of one layout, left to another solver."""

    layout: int
    choices: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """A chain, or the refutation; with ``unknown`` cases neither is complete."""

    chain: Chain | None
    refutation: Refutation | None
    unknown: tuple[Unknown, ...] = ()


class Interrupted(Exception):
    """The search was told to stop."""


Objective = Literal["ttft", "memory"]


class ObjectiveValues:
    """The two objectives on one program's tables, rounded in one direction."""

    program: Program
    floor: bool

    def value(self, objective: Objective, chain: Chain) -> int | None:
        """Value of an objective on these tables."""
        if objective == "ttft":
            return worst_ttft(self.program, chain, floor=self.floor)
        return peak_memory(self.program, chain)

    def below(self, query: Query, objective: Objective, chain: Chain) -> Query:
        """Return the query that only chains better than this one meet."""
        value = self.value(objective, chain)
        less = -1 if value is None else value - 1
        return replace(query, ttft=less) if objective == "ttft" else replace(query, memory=less)
