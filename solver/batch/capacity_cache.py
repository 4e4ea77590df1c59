"""Loads that replicas were refused, kept beside the ledger: a batch of other limits begins with what one before found.

One SQLite file. A row holds what one search found, under a digest of all that it depends on: the deciding code and the
question without limits on latency and GPUs. Nothing is believed that does not say so itself: a row carries a digest of
its key and content. A file that is none of ours, or damaged, is put aside; one that cannot be used costs no answer.
The file grows to `MOST_PAGES` pages at most; beyond it the oldest half of the rows goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shardproof.formulations.fleet.covering import Refused
from shardproof.solver.search.refusals import Told

VERSION = 1
APPLICATION = 0x73706361
"""How SQLite's header names the file: ``spca``."""
MOST_PAGES = 16_384
"""64 MB."""
_BUSY_S = 5.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS refused (key TEXT NOT NULL, told TEXT NOT NULL, digest TEXT NOT NULL, at REAL NOT NULL)"
)
_INDEX = "CREATE INDEX IF NOT EXISTS by_key ON refused (key)"

_Broken = (sqlite3.Error, OSError, ValueError, TypeError, KeyError, RecursionError)


@dataclass
class CapacityCache:
    """What workers read and write; opened by each process that uses it. ``code``: version of the deciding code."""

    path: Path
    code: str
    _link: sqlite3.Connection | None = field(default=None, init=False, repr=False)
    _broken: bool = field(default=False, init=False, repr=False)

    def read(self, costs: str) -> list[Told]:
        """Return what is known of some costs; nothing where the file cannot be used."""
        key = self._key(costs)
        rows = self._safely("SELECT key, told, digest FROM refused WHERE key = ? ORDER BY rowid", (key,))
        try:
            return [told for row in rows for told in _told(*row)]
        except _Broken:
            self._broken = True
            return []

    def write(self, costs: str, told: Iterable[Told]) -> None:
        """Keep what was found; where there is no room, the oldest half makes some."""
        key = self._key(costs)
        for text in _texts(told):
            row = (key, text, _digest(key, text), time.time())
            self._safely("INSERT INTO refused VALUES (?, ?, ?, ?)", row)

    def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _key(self, costs: str) -> str:
        return hashlib.sha256(f"{self.code} {costs}".encode()).hexdigest()

    def _safely(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a statement; a cache that fails is left alone from then on."""
        if self._broken:
            return []
        try:
            if self._link is None:
                self._link = opened(self.path)
            return _run(self._link, statement, values)
        except _Broken:
            self._broken = True
            return []


def made_ready(path: Path) -> str | None:
    """Open the file or make it; put aside one that is damaged or none of ours, and say so (``None``: it is well)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return None
    try:
        with contextlib.closing(opened(path)) as link:
            _check(link)
        return None
    except _Broken as error:
        return _put_aside(path, error)


def opened(path: Path) -> sqlite3.Connection:
    """Return a connection to a cache, made if it is not there.

    Raises
    ------
    sqlite3.Error, ValueError
        If the file is damaged, or none of ours.
    """
    link = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)
    try:
        found = tuple(link.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if found == (0, 0) and not link.execute("SELECT 1 FROM sqlite_master").fetchone():
            _make(link)
        elif found != (APPLICATION, VERSION):
            raise ValueError("another program's or another version's file")
        link.execute("PRAGMA synchronous = NORMAL")
        link.execute(f"PRAGMA max_page_count = {MOST_PAGES}")
    except BaseException:
        link.close()
        raise
    return link


def _make(link: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.OperationalError):  # locked by another that makes it, too: any journal will do
        link.execute("PRAGMA journal_mode = WAL")
    link.execute("BEGIN IMMEDIATE")
    link.execute(_TABLE)
    link.execute(_INDEX)
    link.execute(f"PRAGMA application_id = {APPLICATION}")
    link.execute(f"PRAGMA user_version = {VERSION}")
    link.execute("COMMIT")


def _run(link: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    try:
        return link.execute(statement, values).fetchall()
    except sqlite3.OperationalError as error:
        if "full" not in str(error):
            raise
    link.execute("DELETE FROM refused WHERE rowid <= (SELECT (MIN(rowid) + MAX(rowid)) / 2 FROM refused)")
    return link.execute(statement, values).fetchall()


def _check(link: sqlite3.Connection) -> None:
    """Raise where SQLite, or a row's own digest, finds damage."""
    said = link.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise ValueError(said)
    for row in link.execute("SELECT key, told, digest FROM refused"):
        for _ in _told(*row):
            pass


def _put_aside(path: Path, error: BaseException) -> str:
    aside = path.with_name(f"{path.name}.aside")
    for ending in ("", "-wal", "-shm"):
        part = path.with_name(f"{path.name}{ending}")
        with contextlib.suppress(OSError):
            part.replace(aside) if not ending else part.unlink()
    return f"{path}: is no cache that can be used ({error}); it was put aside as {aside.name}, a new one is begun"


def _texts(told: Iterable[Told]) -> Iterator[str]:
    """Write refused loads, those of the same limits in one text."""
    grouped: dict[tuple[tuple[int | None, ...], int], list[Refused]] = {}
    for one in told:
        grouped.setdefault((one.limits, one.widest), []).append(one.refused)
    for (limits, widest), refused in grouped.items():
        loads = [[one.gpus, *one.load] for one in refused]
        yield json.dumps({"limits": limits, "widest": widest, "refused": loads}, separators=(",", ":"))


def _told(key: object, text: object, digest: object) -> Iterator[Told]:
    """Read a row.

    Raises
    ------
    ValueError
        If its digest is not that of its key and content.
    """
    if not isinstance(key, str) or not isinstance(text, str) or digest != _digest(key, text):
        raise ValueError("a row was changed")
    tree = json.loads(text)
    for gpus, *load in tree["refused"]:
        yield Told(tuple(tree["limits"]), tree["widest"], Refused(gpus, tuple(load)))


def _digest(key: str, text: str) -> str:
    return hashlib.sha256(f"refused {VERSION} {key} {text}".encode()).hexdigest()
