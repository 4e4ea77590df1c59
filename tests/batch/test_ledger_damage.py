"""Ledgers that are none, or damaged, end in one message; a report reads without writing; signals lose nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from shardproof.instances.errors import InputError
from shardproof.solver.batch import rows as batch_rows
from shardproof.solver.batch.answer import Answer
from shardproof.solver.batch.launch import launch
from shardproof.solver.batch.ledger import VERSION, Ledger, RunTask
from shardproof.solver.batch.stop import noted_signals
from tests.oracles import batch_planner
from tests.oracles.batch_process import request

ANSWER = Answer("optimal", {"gpus": 1}, '{"plan": 1}', 0.1)


def filled(path: Path) -> Path:
    ledger = Ledger(path)
    ledger.record("a", ANSWER)
    ledger.register("run", {}, [RunTask(0, "a", {"task": "a"})])
    ledger.close()
    return path


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as link:
        link.execute("CREATE TABLE notes (text TEXT)")
    link.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="another program's database"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_database_of_the_same_version_with_other_tables_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "same.sqlite"
    with sqlite3.connect(path) as link:
        link.execute("CREATE TABLE answer (text TEXT)")
        link.execute(f"PRAGMA user_version = {VERSION}")
    link.close()
    with pytest.raises(InputError, match="its table answer is missing or another one"):
        Ledger(path)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no ledger that can be used"):
        Ledger(path)


@pytest.mark.parametrize(
    ("column", "value"), [("summary", "{broken"), ("document", b"\x00\x01"), ("summary", None), ("document", 7)]
)
def test_a_damaged_row_is_named(column: str, value: object, tmp_path: Path) -> None:
    path = filled(tmp_path / "l.sqlite")
    with sqlite3.connect(path) as link:
        link.execute("CREATE TABLE other AS SELECT * FROM answer")
        link.execute("DROP TABLE answer")
        link.execute("ALTER TABLE other RENAME TO answer")
        link.execute(f"UPDATE answer SET {column} = ?", (value,))
    link.close()
    ledger = Ledger(path)
    with pytest.raises(InputError, match="damaged row"):
        (ledger.answers(["a"], independent=True), ledger.document("a"))
    ledger.close()


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_end_in_an_answer_or_a_message(seed: int, tmp_path: Path) -> None:
    import random

    path, chance = filled(tmp_path / "l.sqlite"), random.Random(seed)
    raw = bytearray(path.read_bytes())
    for _ in range(200):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    path.write_bytes(raw)
    with contextlib.suppress(InputError), contextlib.closing(Ledger(path, read_only=bool(seed % 2))) as ledger:
        ledger.answers(["a"], independent=False)
        ledger.runs()
        ledger.run_tasks("run")
        ledger.document("a")


def test_reading_leaves_nothing_beside_the_ledger(tmp_path: Path) -> None:
    path = filled(tmp_path / "l.sqlite")
    before = path.read_bytes()
    ledger = Ledger(path, read_only=True)
    assert ledger.document("a") == ANSWER.document
    assert [entry.name for entry in tmp_path.iterdir()] == ["l.sqlite"]
    with pytest.raises(InputError, match="readonly"):
        ledger.record("b", ANSWER)
    ledger.close()
    assert path.read_bytes() == before


def test_reading_sees_what_a_running_batch_has_written(tmp_path: Path) -> None:
    writing = Ledger(tmp_path / "l.sqlite")
    writing.record("a", ANSWER)
    reading = Ledger(tmp_path / "l.sqlite", read_only=True)
    assert reading.document("a") == ANSWER.document
    reading.close()
    writing.close()


def test_a_signal_is_noted_and_the_handler_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with noted_signals() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_while_results_are_written_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = batch_rows._csv

    def interrupted(*arguments: object) -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(batch_rows, "_csv", interrupted)
    asked = request(tmp_path)
    _, rows = launch(asked, work=batch_planner.Planner())
    assert all(path.exists() for path in asked.results)
    assert len(rows) == len(asked.tasks)
