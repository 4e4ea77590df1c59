"""The batch: ledger, pool, runner and what they survive, with a planner that answers at once."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shardproof.instances.errors import InputError
from shardproof.solver.batch.answer import Answer, Job
from shardproof.solver.batch.engine import TaskLimits, Work
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.launch import launch
from shardproof.solver.batch.ledger import Ledger, LedgerFullError
from shardproof.solver.batch.owner import this_process
from shardproof.solver.batch.pool import PoolEngine
from shardproof.solver.batch.rows import Row
from shardproof.solver.batch.runner import Progress
from tests.oracles import batch_planner
from tests.oracles.batch_process import request
from tests.oracles.places import ROOT

KILLS = 200 if os.environ.get("SHARDPROOF_FULL") else 4
FLAT = {"mfu": "50%", "bandwidth_efficiency": "80%"}
AMPLE = TaskLimits(seconds=600)
WAIT_S = 600
SCRIPT = ROOT / "tests" / "oracles" / "batch_process.py"


def comparable(rows: list[Row]) -> list[Row]:
    """Rows without wall times and keys."""
    return [replace(row, seconds=0.0, fingerprint="") for row in rows]


def start(folder: Path, seconds: float, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(folder), str(seconds), *more]
    paths = os.pathsep.join([str(SCRIPT.parent), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def marks(folder: Path) -> Counter[str]:
    """How often each task was started."""
    return Counter(path.name.split("-")[0] for path in (folder / "marks").iterdir())


def answers_by(work: Work, *, limits: TaskLimits = AMPLE, processes: int = 2) -> dict[str, Answer]:
    """Answer the six tasks of one limit with a pool, each on its own."""
    engine = PoolEngine(work, processes=processes, limits=limits)
    asked = (task for task in batch_planner.tasks() if "60 s" in task.name)
    waiting = [Job(task.fingerprint, task.name, task.instance) for task in asked]
    found: dict[str, Answer] = {}
    flying = 0
    try:
        while waiting or flying:
            while waiting and flying < engine.slots:
                engine.submit(waiting.pop(0))
                flying += 1
            for done in engine.collect(0.5):
                found[done.job.name] = done.answer
                flying -= 1
    finally:
        engine.close()
    return found


def test_run_and_run_again(tmp_path: Path) -> None:
    first, rows = launch(request(tmp_path), work=batch_planner.Planner())
    second, again = launch(request(tmp_path), work=batch_planner.dies)
    assert first.progress.done == first.progress.total == len(rows) == 18
    assert first.progress.solved + first.progress.carried == 18
    assert second.progress.found == 18
    assert again == rows
    assert [row.status for row in rows].count("optimal") > 6


def test_carried_answers_equal_independent_ones(tmp_path: Path) -> None:
    _, carried = launch(request(tmp_path / "carried"), work=batch_planner.Planner())
    outcome, alone = launch(request(tmp_path / "alone", independent=True), work=batch_planner.Planner())
    assert outcome.progress.carried == 0
    assert sum(row.carried_from is not None for row in carried) >= 6

    def answer(row: Row) -> tuple[object, ...]:
        return (row.task, row.status, row.gpus, row.bound, row.ttft_s, row.tpot_ms, row.peak_memory_bytes)

    assert list(map(answer, carried)) == list(map(answer, alone))


def test_independent_solves_what_was_carried(tmp_path: Path) -> None:
    launch(request(tmp_path), work=batch_planner.Planner())
    outcome, rows = launch(request(tmp_path, independent=True), work=batch_planner.Planner())
    assert 0 < outcome.progress.found < 18
    assert all(row.carried_from is None for row in rows)


def test_only_changed_tasks_are_solved(tmp_path: Path) -> None:
    launch(request(tmp_path), work=batch_planner.Planner())
    cross = batch_planner.SWEEP["cross"] | {"limits.ttft": ["60 s", "1 s", "150 ms"]}  # type: ignore[operator]
    changed = tuple(batch_planner.tasks(batch_planner.SWEEP | {"cross": cross}))
    outcome, _ = launch(replace(request(tmp_path), tasks=changed), work=batch_planner.Planner())
    assert outcome.progress.found == 12
    assert outcome.progress.solved + outcome.progress.carried == 6


def test_price_and_names_change_no_fingerprint_but_seed_and_limits_do() -> None:
    def keys(base: dict[str, Any], settings: SolveSettings = batch_planner.DEFAULTS) -> list[str]:
        tree = batch_planner.SWEEP | {"base": batch_planner.SWEEP["base"] | base}  # type: ignore[operator]
        return [task.fingerprint for task in batch_planner.tasks(tree, settings)]

    plain = keys({"hardware": FLAT})
    assert len(set(plain)) == len(plain)
    assert keys({"hardware": FLAT | {"price_per_hour": "9 USD/h"}, "description": "other words"}) == plain
    for changed in (
        keys({"hardware": FLAT | {"price_per_hour": "9 USD/h"}, "limits": {"price_per_hour": "100 USD/h"}}),
        keys({"hardware": {"mfu": "0.41"}}),
        keys({}, SolveSettings(seed=1)),
        keys({}, SolveSettings(time_limit_s=7)),
        keys({}, SolveSettings(workers=2)),
    ):
        assert not set(changed) & set(plain)


@pytest.mark.slow(reason="batches are started, killed and started again")
def test_kill_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    _, whole = launch(request(tmp_path / "whole"), work=batch_planner.Planner())
    moments = random.Random(5)
    folder, killed = tmp_path / "killed", 0
    ledger = folder / "ledger.sqlite"
    while killed < KILLS:
        process = start(folder, 0.02)
        time.sleep(moments.uniform(0.05, 1.6))
        process.kill()
        process.communicate()
        killed += 1
        if ledger.exists() and killed % 3 == 0:
            with sqlite3.connect(ledger) as link:
                assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            link.close()
        if killed % 4 == 0:
            outcome, rows = launch(request(folder), work=batch_planner.Planner())
            assert not outcome.interrupted
            assert comparable(rows) == comparable(whole)
            ledger.unlink()
    assert killed == KILLS


@pytest.mark.slow(reason="batches are started, killed and started again")
def test_a_finished_task_is_never_started_again(tmp_path: Path) -> None:
    process = start(tmp_path, 0.05)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 6:
            break
    process.kill()
    process.communicate()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    tasks = batch_planner.tasks()
    finished = set(ledger.answers([task.fingerprint for task in tasks], independent=True))
    ledger.close()
    before = marks(tmp_path)
    start(tmp_path, 0.0).communicate(timeout=WAIT_S)
    assert len(finished) >= 1
    assert all(marks(tmp_path)[key] == before[key] for key in finished)


@pytest.mark.slow(reason="two processes run at once")
def test_two_batches_share_one_ledger(tmp_path: Path) -> None:
    pair = [start(tmp_path, 0.05), start(tmp_path, 0.05)]
    ends = [process.communicate(timeout=WAIT_S) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ends
    assert set(marks(tmp_path).values()) == {1}
    _, whole = launch(request(tmp_path / "whole"), work=batch_planner.Planner())
    with (tmp_path / "results.csv").open() as file:
        assert [row["gpus"] for row in csv.DictReader(file)] == ["" if r.gpus is None else str(r.gpus) for r in whole]


def test_a_dead_batch_gives_its_claims_up(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    mine, gone = this_process(), replace(this_process(), pid=2**22 + 1)
    elsewhere = replace(this_process(), host="another")
    assert ledger.claim("a", mine, independent=False)
    assert not ledger.claim("a", this_process(), independent=False)
    assert ledger.claim("b", gone, independent=False)
    assert ledger.claim("b", mine, independent=False)
    assert ledger.claim("c", elsewhere, independent=False)
    assert not ledger.claim("c", mine, independent=False)
    reused = replace(this_process(), started="1")
    assert ledger.claim("d", reused, independent=False)
    assert ledger.claim("d", mine, independent=False)
    ledger.close()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_clean_with_what_is_known(tmp_path: Path, sign: signal.Signals) -> None:
    process = start(tmp_path, 0.5)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 2:
            break
    process.send_signal(sign)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["interrupted"] is True
    assert "Traceback" not in err
    with (tmp_path / "results.csv").open() as file:
        statuses = Counter(row["status"] for row in csv.DictReader(file))
    assert statuses["open"] > 0
    assert statuses["optimal"] > 0
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert all(
        ledger.claim(task.fingerprint, this_process(), independent=False) or True for task in batch_planner.tasks()
    )
    ledger.close()


def test_a_worker_killed_once_is_tried_again(tmp_path: Path) -> None:
    answers = answers_by(batch_planner.DiesOnce(str(tmp_path / "mark")))
    assert {answer.status for answer in answers.values()} <= {"optimal", "infeasible"}
    assert len(answers) == 6


def test_a_worker_killed_twice_is_reported_and_the_others_go_on() -> None:
    answers = answers_by(batch_planner.dies)
    for name, answer in answers.items():
        assert (answer.status == "failed") == ("h100" in name)
    assert "SIGKILL" in str(next(a.reason for name, a in answers.items() if "h100" in name))


@pytest.mark.slow(reason="waits for time limits to strike")
def test_limits_of_a_task_are_enforced() -> None:
    large = answers_by(batch_planner.grows, limits=TaskLimits(seconds=600, memory_bytes=350_000_000))
    long = answers_by(batch_planner.hangs, limits=TaskLimits(seconds=10))
    wrong = answers_by(batch_planner.raises)
    for answers, words in ((large, "memory limit of 0.35 GB"), (long, "time limit"), (wrong, "ZeroDivisionError")):
        assert all(words in str(a.reason) for name, a in answers.items() if "h100" in name)
        assert {a.status for name, a in answers.items() if "h100" not in name} <= {"optimal", "infeasible"}


def test_workers_are_long_lived(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    answers_by(batch_planner.Planner(marks=str(tmp_path / "marks")))
    assert len({path.name.split("-")[1] for path in (tmp_path / "marks").iterdir()}) <= 2


def test_failed_tasks_stay_failed_until_asked(tmp_path: Path) -> None:
    launch(request(tmp_path), work=batch_planner.raises)
    outcome, rows = launch(request(tmp_path), work=batch_planner.Planner())
    assert outcome.progress.found == 18
    assert "failed" in {row.status for row in rows}
    _, rows = launch(replace(request(tmp_path), retry_failed=True), work=batch_planner.Planner())
    assert "failed" not in {row.status for row in rows}


def test_fresh_solves_all_anew(tmp_path: Path) -> None:
    launch(request(tmp_path), work=batch_planner.Planner())
    outcome, _ = launch(replace(request(tmp_path), fresh=True), work=batch_planner.Planner())
    assert outcome.progress.found == 0
    assert outcome.progress.done == 18


def test_a_full_disk_leaves_the_ledger_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger._link.execute("PRAGMA max_page_count = 25")
    recorded: list[str] = []

    def fill() -> None:
        for index in range(100):
            text = json.dumps({"noise": random.Random(index).randbytes(2000).hex()})
            ledger.record(str(index), Answer("optimal", {}, text, 1.0))
            recorded.append(str(index))

    with pytest.raises(LedgerFullError, match="disk is full"):
        fill()
    ledger.close()
    assert 0 < len(recorded) < 100
    again = Ledger(path)
    assert set(again.answers([str(i) for i in range(100)], independent=False)) == set(recorded)
    again.record("100", Answer("optimal", {}, None, 1.0))
    again.close()


def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise LedgerFullError("the disk is full")

    monkeypatch.setattr(Ledger, "record", full)
    with pytest.raises(InputError, match="disk is full"):
        launch(request(tmp_path), work=batch_planner.Planner())


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to look at" * 30, b"SQLite format 3\0" + b"x" * 200]
)
def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(content)
    with pytest.raises(InputError, match="is no ledger"):
        Ledger(tmp_path / "ledger.sqlite")


def test_results_files_hold_every_row(tmp_path: Path) -> None:
    asked = replace(request(tmp_path), formats=("csv", "json"))
    _, rows = launch(asked, work=batch_planner.Planner())
    with (tmp_path / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    tree = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert len(table) == len(tree) == len(rows)
    assert [row["task"] for row in table] == [row["task"] for row in tree]
    assert {"model", "device", "engine", "limits.ttft", "status", "price_per_hour", "reason"} <= set(table[0])
    assert not list(tmp_path.glob(".*part"))


def test_parquet_holds_every_row(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    _, rows = launch(replace(request(tmp_path), formats=("parquet",)), work=batch_planner.Planner())
    table = parquet.read_table(tmp_path / "results.parquet")
    assert table.column("gpus").to_pylist() == [row.gpus for row in rows]


def test_progress_counts_every_task(tmp_path: Path) -> None:
    seen: list[Progress] = []
    launch(request(tmp_path), work=batch_planner.Planner(), watch=seen.append)
    assert seen[0].done == 0
    assert seen[-1].done == 18
    assert all(a.done <= b.done for a, b in itertools.pairwise(seen))
    assert sum(seen[-1].statuses.values()) == 18
