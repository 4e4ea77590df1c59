"""Runs one batch with the test planner in a process of its own: ``python batch_process.py FOLDER SECONDS``."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.launch import BatchRequest, launch
from shardproof.solver.batch.runner import Progress
from tests.oracles import batch_planner


def request(folder: Path, *, independent: bool = False, ledger: Path | None = None) -> BatchRequest:
    """A batch of the tiny sweep."""
    return BatchRequest(
        name="tiny",
        description="",
        tasks=tuple(batch_planner.tasks()),
        swept=("limits.ttft",),
        settings=SolveSettings(),
        folder=folder,
        ledger=ledger or folder / "ledger.sqlite",
        processes=2,
        independent=independent,
    )


def _tell(progress: Progress) -> None:
    print(progress.done, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(sys.argv[1])
    (folder / "marks").mkdir(parents=True, exist_ok=True)
    work = batch_planner.Planner(seconds=float(sys.argv[2]), marks=str(folder / "marks"))
    outcome, rows = launch(request(folder, independent="independent" in sys.argv), work=work, watch=_tell)
    print(json.dumps({"interrupted": outcome.interrupted, "rows": len(rows)}), flush=True)
