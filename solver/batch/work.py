"""What a worker does with a job: one solve, and the whole document of its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.solver.batch.answer import Answer, Job, from_document, from_fleet
from shardproof.solver.batch.fingerprint import SolveSettings

if TYPE_CHECKING:
    from shardproof.solver.search.refusals import Refusals
    from shardproof.solver.search.settings import Progress


@dataclass(frozen=True)
class Solve:
    """Solves jobs under fixed settings; travels to worker processes by value.

    ``sharing``: what single replicas were refused serves the jobs that come after; ``cache``: where that outlasts the
    process (`capacity_cache`).
    """

    settings: SolveSettings
    sharing: bool = True
    cache: Path | None = None
    code: str = ""

    @cached_property
    def _refusals(self) -> Refusals | None:
        """What this process's jobs were refused."""
        from shardproof.solver.batch.capacity_cache import CapacityCache
        from shardproof.solver.search.refusals import Refusals

        if not self.sharing:
            return None
        return Refusals(None if self.cache is None else CapacityCache(self.cache, self.code))

    def __call__(self, job: Job) -> Answer:
        """Solve one instance."""
        return self._solved(job, None)

    def telling(self, job: Job, tell: Callable[[Any], None]) -> Answer:
        """Solve one instance, and tell the best GPU count and the bound so far."""
        return self._solved(job, lambda progress: tell(vars(progress)))

    def _solved(self, job: Job, on_progress: Callable[[Progress], None] | None) -> Answer:
        from shardproof.instances.pools import PoolsQuestion
        from shardproof.solver.answer import answer as solve
        from shardproof.solver.pools.solve import solve_pools
        from shardproof.solver.search.settings import Settings

        chosen, started = self.settings, time.perf_counter()
        settings = Settings(
            time_limit_s=chosen.time_limit_s,
            workers=chosen.workers,
            seed=chosen.seed,
            certify=chosen.certify,
            explain=chosen.explain,
            floor=job.known.floor or 1,
            on_progress=on_progress,
            refusals=self._refusals,
        )
        if isinstance(job.instance, PoolsQuestion):
            # That there is no fleet needs its reason; a fleet speaks for itself.
            fleet = solve_pools(job.instance, replace(settings, explain=True))
            return from_fleet(fleet.to_json(), seconds=time.perf_counter() - started)
        # A plan speaks for itself; that there is none needs its reason.
        result = solve(job.instance, settings=replace(settings, why_none=True))
        return from_document(result.to_json(), seconds=time.perf_counter() - started)
