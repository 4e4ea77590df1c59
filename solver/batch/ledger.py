"""The ledger: every answer of every batch in one SQLite file, written as it comes.

An answer is keyed by the fingerprint of all that determines it. Every write is one transaction of a
write-ahead log, so that a process may be killed at any moment. A claim says which live process works on a
task; that of a dead process is free to be taken. Answers carried over from other tasks (``carried`` 1) stand
beside those that were solved on their own (``carried`` 0).
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from shardproof.instances.reading import refuse
from shardproof.solver.batch.answer import Answer, Status
from shardproof.solver.batch.owner import Owner

VERSION = 1
_BUSY_MS = 60_000
_CHUNK = 500

_TABLES = """
CREATE TABLE IF NOT EXISTS answer (
    fingerprint TEXT NOT NULL, carried INTEGER NOT NULL, status TEXT NOT NULL, summary TEXT NOT NULL,
    document BLOB, seconds REAL NOT NULL, reason TEXT, source TEXT, finished_at REAL NOT NULL,
    PRIMARY KEY (fingerprint, carried));
CREATE TABLE IF NOT EXISTS claim (
    fingerprint TEXT PRIMARY KEY, token TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
    started TEXT NOT NULL, seen_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS run (
    name TEXT PRIMARY KEY, facts TEXT NOT NULL, started_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS run_task (
    run TEXT NOT NULL, position INTEGER NOT NULL, fingerprint TEXT NOT NULL, facts TEXT NOT NULL,
    PRIMARY KEY (run, position)) WITHOUT ROWID;
"""


class LedgerFullError(Exception):
    """The ledger's disk is full; what was written before stands."""


@dataclass(frozen=True)
class RunTask:
    """One task of a run as the ledger keeps it: its answer's key, and facts for tables and reports."""

    position: int
    fingerprint: str
    facts: Mapping[str, Any]


class Ledger:
    """A connection to one ledger file, made by the process that uses it."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises
        ------
        InputError
            If the file cannot be opened, is no ledger, or comes from a newer version.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._link = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
            self._link.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            self._link.execute("PRAGMA synchronous = NORMAL")
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            if _is_full(error):
                raise LedgerFullError(_full_message(path)) from None
            raise refuse(str(path), f"is no ledger that can be used ({error}); name another file") from None

    def _prepare(self) -> None:
        found = self._link.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise refuse(str(self.path), f"was written by a newer version (ledger {found}); update shardproof")
        if found == VERSION:
            return
        self._use_write_ahead_log()
        with self._writing():
            for statement in _TABLES.split(";"):
                self._link.execute(statement)
            self._link.execute(f"PRAGMA user_version = {VERSION}")

    def _use_write_ahead_log(self) -> None:
        """Change the journal; SQLite's busy handler does not wait for that, so another run opening it is waited for."""
        give_up = time.monotonic() + _BUSY_MS / 1000
        while True:
            try:
                self._link.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._link.execute("BEGIN IMMEDIATE")
            yield
            self._link.execute("COMMIT")
        except BaseException as error:
            if self._link.in_transaction:
                self._link.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and _is_full(error):
                raise LedgerFullError(_full_message(self.path)) from None
            raise

    def answers(self, fingerprints: Sequence[str], *, independent: bool) -> dict[str, Answer]:
        """Answers that stand, without their documents; ``independent``: only those solved on their own."""
        found: dict[str, Answer] = {}
        for start in range(0, len(fingerprints), _CHUNK):
            chunk = fingerprints[start : start + _CHUNK]
            rows = self._link.execute(
                "SELECT fingerprint, status, summary, seconds, reason, source FROM answer WHERE fingerprint IN"
                f" ({','.join('?' * len(chunk))}) AND carried <= ? ORDER BY carried DESC",
                (*chunk, 0 if independent else 1),
            )
            found |= {row[0]: _answer(row[1:]) for row in rows}
        return found

    def document(self, fingerprint: str) -> str | None:
        """Return the ``solve --json`` text of an answer, if it stands and has one."""
        row = self._link.execute(
            "SELECT document FROM answer WHERE fingerprint = ? ORDER BY carried LIMIT 1", (fingerprint,)
        ).fetchone()
        return None if row is None or row[0] is None else zlib.decompress(row[0]).decode()

    def claim(self, fingerprint: str, owner: Owner, *, independent: bool) -> bool:
        """Take a task for ``owner``; false when another live process has it or it is answered."""
        now = time.time()
        with self._writing():
            done = self._link.execute(
                "SELECT 1 FROM answer WHERE fingerprint = ? AND carried <= ?", (fingerprint, 0 if independent else 1)
            ).fetchone()
            held = self._link.execute(
                "SELECT token, host, pid, started, seen_at FROM claim WHERE fingerprint = ?", (fingerprint,)
            ).fetchone()
            if done is not None or (held is not None and _is_held(held, owner, now)):
                return False
            self._link.execute(
                "INSERT OR REPLACE INTO claim VALUES (?, ?, ?, ?, ?, ?)",
                (fingerprint, owner.token, owner.host, owner.pid, owner.started, now),
            )
        return True

    def keep_claims(self, owner: Owner) -> None:
        """Show that the owner is alive."""
        with self._writing():
            self._link.execute("UPDATE claim SET seen_at = ? WHERE token = ?", (time.time(), owner.token))

    def release(self, owner: Owner) -> None:
        """Give back every claim of the owner."""
        with self._writing():
            self._link.execute("DELETE FROM claim WHERE token = ?", (owner.token,))

    def record(self, fingerprint: str, answer: Answer) -> None:
        """Write an answer and end its claim, in one transaction; an answer that stands is not replaced."""
        document = None if answer.document is None else zlib.compress(answer.document.encode(), 1)
        carried = 0 if answer.source is None else 1
        with self._writing():
            self._link.execute(
                "INSERT OR IGNORE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    fingerprint,
                    carried,
                    answer.status,
                    json.dumps(answer.summary),
                    document,
                    answer.seconds,
                    answer.reason,
                    answer.source,
                    time.time(),
                ),
            )
            self._link.execute("DELETE FROM claim WHERE fingerprint = ?", (fingerprint,))

    def forget_failures(self, fingerprints: Iterable[str]) -> None:
        """Drop the answers of failed tasks, so that they are tried again."""
        self._forget("DELETE FROM answer WHERE fingerprint = ? AND status = 'failed'", fingerprints)

    def forget(self, fingerprints: Iterable[str]) -> None:
        """Drop the answers of tasks, so that they are solved anew."""
        self._forget("DELETE FROM answer WHERE fingerprint = ?", fingerprints)

    def _forget(self, statement: str, fingerprints: Iterable[str]) -> None:
        with self._writing():
            self._link.executemany(statement, ((fingerprint,) for fingerprint in fingerprints))

    def register(self, run: str, facts: Mapping[str, Any], tasks: Iterable[RunTask]) -> None:
        """Write the list of a run's tasks, in place of an earlier list of that name."""
        with self._writing():
            self._link.execute("DELETE FROM run_task WHERE run = ?", (run,))
            self._link.execute("INSERT OR REPLACE INTO run VALUES (?, ?, ?)", (run, json.dumps(facts), time.time()))
            self._link.executemany(
                "INSERT INTO run_task VALUES (?, ?, ?, ?)",
                ((run, task.position, task.fingerprint, json.dumps(task.facts)) for task in tasks),
            )

    def runs(self) -> dict[str, dict[str, Any]]:
        """Facts of every run by name, the latest last."""
        rows = self._link.execute("SELECT name, facts FROM run ORDER BY started_at").fetchall()
        return {name: json.loads(facts) for name, facts in rows}

    def run_tasks(self, run: str) -> list[RunTask]:
        """Tasks of a run, in order."""
        rows = self._link.execute(
            "SELECT position, fingerprint, facts FROM run_task WHERE run = ? ORDER BY position", (run,)
        )
        return [RunTask(position, fingerprint, json.loads(facts)) for position, fingerprint, facts in rows]


def _answer(row: tuple[Any, ...]) -> Answer:
    status, summary, seconds, reason, source = row
    return Answer(
        status=cast(Status, status),
        summary=json.loads(summary),
        document=None,
        seconds=seconds,
        reason=reason,
        source=source,
    )


def _is_held(row: tuple[Any, ...], owner: Owner, now: float) -> bool:
    token, host, pid, started, seen_at = row
    holder = Owner(token=token, host=host, pid=pid, started=started)
    return token != owner.token and holder.is_alive(silent_s=now - seen_at)


def _is_full(error: BaseException) -> bool:
    text = str(error).lower()
    return "disk is full" in text or "no space left" in text or "disk i/o error" in text


def _full_message(path: Path) -> str:
    return (
        f"{path}: the disk is full or cannot be written; every answer written so far stands."
        " Free some space and run the same command again: it goes on where it stopped"
    )
