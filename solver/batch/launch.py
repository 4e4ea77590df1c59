"""From the options of a batch to a finished run: tasks, ledger, engine, results files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardproof.instances.errors import InputError
from shardproof.instances.sweep import axes, check_names, load_sweep
from shardproof.instances.units import floor, parse_quantity
from shardproof.solver.batch.answer import Task
from shardproof.solver.batch.engine import PRELOAD, Engine, TaskLimits, Work
from shardproof.solver.batch.fingerprint import SolveSettings, code_version
from shardproof.solver.batch.ledger import Ledger, LedgerFullError
from shardproof.solver.batch.owner import this_process
from shardproof.solver.batch.rows import Row, rows_of, write_rows
from shardproof.solver.batch.runner import Outcome, Progress, Runner
from shardproof.solver.batch.stop import noted_signals
from shardproof.solver.batch.tasks import run_task, tasks_of
from shardproof.solver.batch.work import Solve

_GRACE_FACTOR, _GRACE_S = 1.5, 10.0
"""A task that ignores its time limit is stopped after factor * limit + seconds."""


@dataclass(frozen=True)
class BatchRequest:
    """A batch ready to run."""

    name: str
    description: str
    tasks: tuple[Task, ...]
    swept: tuple[str, ...]
    settings: SolveSettings
    folder: Path
    ledger: Path
    engine: str = "pool"
    address: str | None = None
    processes: int = 1
    independent: bool = False
    retry_failed: bool = False
    fresh: bool = False
    formats: tuple[str, ...] = ("csv", "json")
    cached: bool = True

    @property
    def cache(self) -> Path | None:
        """File beside the ledger that keeps what single replicas were refused (``None``: it is not used)."""
        used = self.cached and not self.independent and not self.fresh and self.engine == "pool"
        return self.ledger.with_name(f"{self.ledger.stem}.capacities.sqlite") if used else None

    @property
    def results(self) -> tuple[Path, ...]:
        """Where the results go."""
        return tuple(self.folder / f"results.{form}" for form in self.formats)

    @property
    def limits(self) -> TaskLimits:
        """What one task may use before its worker is stopped."""
        seconds = self.settings.time_limit_s * _GRACE_FACTOR + _GRACE_S
        return TaskLimits(seconds=seconds, memory_bytes=self.settings.memory_limit_bytes)


def batch_request(options: Mapping[str, Any]) -> BatchRequest:
    """Read the sweep and the options of the command line.

    Raises
    ------
    InputError
        If the sweep, a quantity or the number of processes is wrong.
    """
    path: Path = options["sweep"]
    sweep = load_sweep(path)
    check_names(sweep, folder=path.parent)
    settings = SolveSettings(
        time_limit_s=float(_quantity("--time-limit", options["time_limit"], "duration")) / 1e9,
        memory_limit_bytes=floor(_quantity("--memory-limit", options["memory_limit"], "bytes")),
        workers=options["workers"],
        seed=options["seed"],
        certify=options["certify"],
        explain=options["explain"],
    )
    tasks = tuple(tasks_of(sweep, settings, code=code_version(), where=str(path), folder=path.parent))
    if not tasks:
        raise InputError(f"{path}: no combination is left after the filters; loosen 'only' or 'skip'")
    folder = options["out"] or Path("runs") / _as_file_name(sweep.name)
    return BatchRequest(
        name=sweep.name,
        description=sweep.description,
        tasks=tasks,
        swept=axes(sweep),
        settings=settings,
        folder=folder,
        ledger=options["ledger"] or folder / "ledger.sqlite",
        engine=options["engine"],
        address=options["address"],
        processes=_processes(options),
        independent=options["independent"],
        retry_failed=options["retry_failed"],
        fresh=not options["resume"],
        cached=options["cache"],
        formats=tuple(dict.fromkeys(options["formats"])),
    )


def launch(
    request: BatchRequest,
    *,
    work: Work | None = None,
    watch: Callable[[Progress], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> tuple[Outcome, list[Row]]:
    """Run a batch to its end, or to Ctrl-C or SIGTERM; the results files hold what is known then.

    ``warn`` is told what the run goes on without: a cache that cannot be used.

    Raises
    ------
    InputError
        If the ledger or a results file cannot be written.
    """
    with noted_signals() as stopped:
        try:
            ledger = Ledger(request.ledger)
            try:
                outcome = _run(request, ledger, work or _work(request, warn), watch, stopped)
                rows = rows_of(ledger, list(map(run_task, request.tasks)), independent=request.independent)
            finally:
                ledger.close()
        except LedgerFullError as error:
            raise InputError(str(error)) from None
        for form, path in zip(request.formats, request.results, strict=True):
            write_rows(rows, request.swept, path, form)
    return outcome, rows


def _work(request: BatchRequest, warn: Callable[[str], None] | None) -> Solve:
    """Return what workers do, with the cache made ready."""
    if request.cache is None:
        return Solve(request.settings, sharing=not request.independent)
    from shardproof.solver.batch.capacity_cache import made_ready

    said = made_ready(request.cache)
    if said is not None and warn is not None:
        warn(said)
    return Solve(request.settings, cache=request.cache, code=code_version())


def _run(
    request: BatchRequest,
    ledger: Ledger,
    work: Work,
    watch: Callable[[Progress], None] | None,
    stopped: Callable[[], bool],
) -> Outcome:
    facts = {"description": request.description, "swept": request.swept, "independent": request.independent}
    ledger.register(request.name, facts, map(run_task, request.tasks))
    if request.fresh:
        ledger.forget(task.fingerprint for task in request.tasks)
    elif request.retry_failed:
        ledger.forget_failures(task.fingerprint for task in request.tasks)
    engine = _engine(request, work)
    runner = Runner(ledger, engine, this_process(), independent=request.independent, watch=watch, stopped=stopped)
    return runner.run(request.tasks)


def _engine(request: BatchRequest, work: Work) -> Engine:
    if request.engine == "ray":
        from shardproof.solver.batch.ray_engine import RayEngine

        return RayEngine(work, address=request.address, workers=request.settings.workers, limits=request.limits)
    from shardproof.solver.batch.pool import PoolEngine

    return PoolEngine(work, processes=request.processes, limits=request.limits, preload=PRELOAD)


def _processes(options: Mapping[str, Any]) -> int:
    cores, workers = _cores(), options["workers"]
    if workers > cores:
        raise InputError(f"--workers {workers}: this machine has {cores} cores; write at most that")
    processes: int = options["processes"] or max(1, cores // workers)
    if processes * workers > cores and options["engine"] == "pool":
        raise InputError(
            f"--processes {processes}: times {workers} workers that is more than the {cores} cores of this machine;"
            f" write at most {cores // workers}"
        )
    return processes


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quantity(flag: str, text: str, dimension: Any) -> Any:
    try:
        value = parse_quantity(text, dimension)
    except ValueError as error:
        raise InputError(f"{flag} {text}: {error}") from None
    if value <= 0:
        raise InputError(f"{flag} {text}: must be above zero")
    return value


def _as_file_name(name: str) -> str:
    return "".join(mark if mark.isalnum() or mark in "-_." else "-" for mark in name).strip(".-") or "sweep"
