"""What a worker does with a job: one solve, and the whole document of its result."""

from __future__ import annotations

import time
from dataclasses import dataclass

from solver.batch.answer import Answer, Job, from_document
from solver.batch.fingerprint import SolveSettings


@dataclass(frozen=True)
class Solve:
    """Solves jobs under fixed settings; travels to worker processes by value."""

    settings: SolveSettings

    def __call__(self, job: Job) -> Answer:
        """Solve one instance."""
        from solver.solve import Settings, solve

        started = time.perf_counter()
        result = solve(
            job.instance,
            settings=Settings(
                time_limit_s=self.settings.time_limit_s, workers=self.settings.workers, seed=self.settings.seed
            ),
        )
        return from_document(result.to_json(), seconds=time.perf_counter() - started)
