"""`batch` and `report`: many tasks, one ledger, one table, one page."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shardproof.instances.errors import InputError
from shardproof.solver.api.options import check_options
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.solver.batch.launch import BatchRequest
    from shardproof.solver.batch.rows import Row
    from shardproof.solver.batch.runner import Outcome, Progress
    from shardproof.solver.report.content import Content

ENGINES = ("pool", "ray")
_ANSWERED = ("optimal", "infeasible", "feasible", "refused")


@dataclass(frozen=True, repr=False, eq=False)
class Batched(Answered):
    """The answers of a sweep, one row for each task."""

    request: BatchRequest
    outcome: Outcome
    answers: tuple[Row, ...]

    @property
    def folder(self) -> Path:
        """Folder of the ledger and the results files."""
        return self.request.folder

    @property
    def exit_code(self) -> int:
        """0 where every task is answered, 3 where some are undecided, failed or still open."""
        answered = all(row.status in _ANSWERED for row in self.answers)
        return 0 if answered and not self.outcome.interrupted else 3

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``batch --json`` prints."""
        return {"run": self.request.name, "rows": list(self.rows())}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each task: who, the swept values, the answer."""
        return [row.cells(self.request.swept) for row in self.answers]

    def ranking(self, by: Literal["gpus", "price", "tokens"] = "gpus") -> Sequence[Mapping[str, Any]]:
        """Return the rows with a plan, group by group, the best device first, with its ``comparison`` and ``rank``.

        A group is one model under one engine and one choice of every swept value but the device; the measure is
        GPUs, USD per hour, or USD per million output tokens. Equal values share a rank; without the value: ``None``.
        """
        from shardproof.solver.batch import pareto
        from shardproof.solver.batch.tables import RANKINGS

        if by not in RANKINGS:
            raise InputError(f"ranking: by: {by!r}: write one of {', '.join(RANKINGS)}")
        found: list[dict[str, Any]] = []
        for group in pareto.groups(self.answers):
            ranks = pareto.ranks(group.rows, RANKINGS[by])
            for row in pareto.ranked(group.rows, RANKINGS[by]):
                own = {"comparison": group.title, "rank": ranks.get(row.task)}
                found.append(own | row.cells(self.request.swept))
        return found

    def fronts(self) -> Sequence[Mapping[str, Any]]:
        """Return, for each model, the rows that no other beats in both: price (or GPUs) and TTFT."""
        from shardproof.solver.batch import pareto

        measures = {"price/TTFT": pareto.price_per_hour, "GPUs/TTFT": pareto.gpus}
        return [
            {"front": name} | row.cells(self.request.swept)
            for model in dict.fromkeys(row.model for row in self.answers)
            for name, measure in measures.items()
            for row in pareto.front([row for row in self.answers if row.model == model], measure, pareto.ttft)
        ]

    def __str__(self) -> str:
        """Return counts and speed in one line."""
        from shardproof.solver.batch.tables import closing

        return closing(self.outcome)

    def __repr__(self) -> str:
        """Return one line."""
        return f"Batched({self.request.name!r}, {len(self.answers)} tasks)"


@dataclass(frozen=True, repr=False, eq=False)
class Reported(Answered):
    """A batch run as one self-contained HTML page."""

    content: Content

    def html(self) -> str:
        """Return the page: filters, Pareto plot, memory bars, timelines; it loads nothing."""
        from shardproof.solver.report.page import page

        return page(self.content)

    def write(self, path: str | Path) -> None:
        """Write the page; the file appears whole or not at all.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        from shardproof.instances.writing import write_whole

        write_whole(Path(path), self.html().encode())

    def to_dict(self) -> dict[str, Any]:
        """Return the rows and the plans of the page."""
        return {"run": self.content.title, "rows": list(self.rows()), "plans": self.content.plans}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each task."""
        return self.content.columns()

    def __str__(self) -> str:
        """Return what the page holds."""
        return f"{len(self.content.rows)} tasks, {len(self.content.plans)} plans"

    def __repr__(self) -> str:
        """Return one line."""
        return f"Reported({self.content.title!r}, {self})"


def batched(
    request: BatchRequest,
    *,
    watch: Callable[[Progress], None] | None = None,
    warn: Callable[[str], None] = warnings.warn,
) -> Batched:
    """Run a batch that is already read; ``warn`` is told what it goes on without."""
    from shardproof.solver.batch.launch import launch

    outcome, rows = launch(request, watch=watch, warn=warn)
    return Batched(request, outcome, tuple(rows))


def batch(
    sweep: str | Path,
    *,
    out: str | Path | None = None,
    ledger: str | Path | None = None,
    engine: Literal["pool", "ray"] = "pool",
    address: str | None = None,
    processes: int | None = None,
    workers: int = 1,
    time_limit: float | str = "60 s",
    memory_limit: str = "2 GB",
    seed: int = 0,
    certify: bool = False,
    explain: bool = False,
    independent: bool = False,
    resume: bool = True,
    retry_failed: bool = False,
    cache: bool = True,
    formats: Sequence[Literal["csv", "json", "parquet"]] = ("csv", "json"),
    on_progress: Callable[[Progress], None] | None = None,
) -> Batched:
    """Solve every task of a sweep file; what an earlier run answered is taken from its ledger.

    Parameters
    ----------
    sweep
        Path of the sweep file.
    out, ledger, formats
        Folder of the run (``runs/NAME`` without it), its ledger, and the results files written there.
    engine, address, processes, workers
        Processes on this machine or a Ray cluster, and CP-SAT's workers of one task.
    time_limit, memory_limit, seed
        Of one task: seconds or text with a unit, bytes as text with a unit.
    certify, explain
        Have the checker accept every proof; find out what rules out fewer GPUs.
    independent, resume, retry_failed
        Carry nothing from task to task; go on from the ledger; try failed tasks again.
    cache
        Keep what single replicas were refused in a file beside the ledger, for batches of other limits.
    on_progress
        Called with counts while the batch runs.

    Raises
    ------
    InputError
        If the sweep or an option is wrong, or a file cannot be written.
    """
    options = {name: value for name, value in locals().items() if name != "on_progress"}
    return batched(_request(options), watch=on_progress)


def batch_tasks(sweep: str | Path) -> tuple[Mapping[str, Any], ...]:
    """List the tasks of a sweep file without solving any (``batch --list``).

    Raises
    ------
    InputError
        If the sweep is wrong.
    """
    defaults = {
        name: found.default
        for name, found in inspect.signature(batch).parameters.items()
        if found.default is not inspect.Parameter.empty
    }
    return tuple(
        {"task": task.name, **task.labels, "fingerprint": task.fingerprint, "refusal": task.refusal}
        for task in _request({**defaults, "sweep": sweep}).tasks
    )


def _request(options: Mapping[str, Any]) -> BatchRequest:
    from shardproof.solver.batch.launch import batch_request

    check_options("batch", options)
    if options["engine"] not in ENGINES:
        raise InputError(f"batch: engine: {options['engine']!r}: write one of {', '.join(ENGINES)}")
    limit = options["time_limit"]
    paths = {name: None if options[name] is None else Path(options[name]) for name in ("sweep", "out", "ledger")}
    return batch_request({**options, **paths, "time_limit": limit if isinstance(limit, str) else f"{limit} s"})


def report(run: str | Path, *, name: str | None = None) -> Reported:
    """Read a batch run as one page.

    Parameters
    ----------
    run
        Folder that `batch` wrote, or a ledger file.
    name
        Name of the run in a ledger that holds several; the latest without it (``--run``).

    Raises
    ------
    InputError
        If there is no run.
    """
    from shardproof.solver.report.content import read_content

    return Reported(read_content(Path(run), run=name))
