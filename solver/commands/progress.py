"""What a verb shows on a terminal while it takes longer than a second: how long, and the best plan with its bound."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from shardproof.solver.search.settings import Progress

CLEARED = "\r\x1b[2K"
_SILENT_S = 1.0
_EVERY_S = 0.5


def words(progress: Progress) -> str:
    """Say in one line how far a search is."""
    best, bound = (
        "-" if value is None else f"{value / progress.scale:.6g}" for value in (progress.incumbent, progress.bound)
    )
    gap = ""
    if progress.incumbent and progress.bound:
        gap = f"  gap {abs(progress.incumbent - progress.bound) / progress.incumbent:.1%}"
    return f"{progress.level}: {best} {progress.unit}  bound {bound}{gap}"


@contextmanager
def watched(verb: str) -> Iterator[None]:
    """Show how far the work inside is, from the first second on; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from shardproof.solver.api.watched import watching

    latest = [f"{verb}: working"]
    ended = threading.Event()
    ticker = threading.Thread(target=_tick, args=(latest, ended), daemon=True)
    ticker.start()
    try:
        with watching(lambda progress: latest.__setitem__(0, f"{verb}, {words(progress)}")):
            yield
    finally:
        ended.set()
        ticker.join()
        click.echo(CLEARED, err=True, nl=False)


def _tick(latest: list[str], ended: threading.Event) -> None:
    started = time.monotonic()
    if ended.wait(_SILENT_S):
        return
    while not ended.is_set():
        click.echo(f"{CLEARED}{latest[0]}  {time.monotonic() - started:.0f} s", err=True, nl=False)
        ended.wait(_EVERY_S)
