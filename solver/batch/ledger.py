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
from urllib.parse import quote

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
_COLUMNS = {
    "answer": {"fingerprint", "carried", "status", "summary", "document", "seconds", "reason", "source"},
    "claim": {"fingerprint", "token", "host", "pid", "started", "seen_at"},
    "run": {"name", "facts", "started_at"},
    "run_task": {"run", "position", "fingerprint", "facts"},
}
_MOST_TEXT = 64 * 2**20


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

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file, or make it; ``read_only`` neither makes nor changes anything, also beside the file.

        Raises
        ------
        InputError
            If the file cannot be opened, is no ledger, or comes from a newer version.
        """
        self.path = path
        with self.guarded():
            if read_only:
                self._link = _connect_to_read(path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._link = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_MS / 1000)
            try:
                self._link.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
                self._link.execute("PRAGMA synchronous = NORMAL")
                self._prepare()
            except BaseException:
                self._link.close()
                raise

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what SQLite, or a damaged row, raises into one message."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if _is_full(error):
                raise LedgerFullError(_full_message(self.path)) from None
            raise refuse(str(self.path), f"is no ledger that can be used ({error}); name another file") from None
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, zlib.error) as error:
            raise refuse(
                str(self.path), f"holds a damaged row ({type(error).__name__}: {error}); name another file"
            ) from None

    def _prepare(self) -> None:
        found = self._link.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise refuse(str(self.path), f"was written by a newer version (ledger {found}); update shardproof")
        tables = {row[0] for row in self._link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if found == VERSION:
            self._check_columns(tables)
            return
        if tables:
            raise refuse(str(self.path), "is another program's database; name another file")
        self._use_write_ahead_log()
        with self._writing():
            for statement in _TABLES.split(";"):
                self._link.execute(statement)
            self._link.execute(f"PRAGMA user_version = {VERSION}")

    def _check_columns(self, tables: set[str]) -> None:
        """Refuse a database that only looks like a ledger by its version."""
        for table, columns in _COLUMNS.items():
            held = {row[1] for row in self._link.execute(f"PRAGMA table_info({table})")} if table in tables else set()
            if not columns <= held:
                raise refuse(str(self.path), f"is no ledger: its table {table} is missing or another one")

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
        except BaseException:
            if self._link.in_transaction:
                self._link.execute("ROLLBACK")
            with self.guarded():
                raise

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._link.execute(statement, values).fetchall()

    def answers(self, fingerprints: Sequence[str], *, independent: bool) -> dict[str, Answer]:
        """Answers that stand, without their documents; ``independent``: only those solved on their own."""
        found: dict[str, Answer] = {}
        for start in range(0, len(fingerprints), _CHUNK):
            chunk = fingerprints[start : start + _CHUNK]
            with self.guarded():
                rows = self._rows(
                    "SELECT fingerprint, status, summary, seconds, reason, source FROM answer WHERE fingerprint IN"
                    f" ({','.join('?' * len(chunk))}) AND carried <= ? ORDER BY carried DESC",
                    (*chunk, 0 if independent else 1),
                )
                found |= {row[0]: _answer(row[1:]) for row in rows}
        return found

    def document(self, fingerprint: str) -> str | None:
        """Return the ``solve --json`` text of an answer, if it stands and has one."""
        with self.guarded():
            rows = self._rows(
                "SELECT document FROM answer WHERE fingerprint = ? ORDER BY carried LIMIT 1", (fingerprint,)
            )
            return None if not rows or rows[0][0] is None else _inflated(rows[0][0])

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
        with self.guarded():
            rows = self._rows("SELECT name, facts FROM run ORDER BY started_at")
            return {name: json.loads(facts) for name, facts in rows}

    def run_tasks(self, run: str) -> list[RunTask]:
        """Tasks of a run, in order."""
        with self.guarded():
            rows = self._rows(
                "SELECT position, fingerprint, facts FROM run_task WHERE run = ? ORDER BY position", (run,)
            )
            return [RunTask(position, fingerprint, json.loads(facts)) for position, fingerprint, facts in rows]


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a ledger without writing: nobody has it open where no write-ahead log stands beside it."""
    in_use = path.with_name(f"{path.name}-wal").exists()
    address = f"file:{quote(str(path.resolve()))}?mode=ro{'' if in_use else '&immutable=1'}"
    return sqlite3.connect(address, isolation_level=None, timeout=_BUSY_MS / 1000, uri=True)


def _inflated(document: bytes) -> str:
    """Return a document's text.

    Raises
    ------
    ValueError
        If it is larger than any document of ours.
    """
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(document, _MOST_TEXT)
    if unpacker.unconsumed_tail:
        raise ValueError("a document is too large")
    return text.decode()


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
