"""The progress of a batch on stderr: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shardproof.solver.batch.answer import STATUSES
from shardproof.solver.batch.runner import Progress

_REFRESH_S = 0.1
_LINE_EVERY_S = 10.0


class Watcher:
    """Shows `Progress` records; call it with each one."""

    def __init__(self, console: Console) -> None:
        """``console``: on stderr."""
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown_at = time.monotonic()

    def __enter__(self) -> Watcher:
        """Start the live line."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the live line."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show a progress, unless one was shown a moment ago."""
        now = time.monotonic()
        if now - self._shown_at < (_LINE_EVERY_S if self._live is None else _REFRESH_S):
            return
        self._shown_at = now
        if self._live is not None:
            self._live.update(_bar(progress), refresh=True)
        else:
            self._console.print(line(progress), markup=False, highlight=False)


def line(progress: Progress) -> str:
    """One line: counts by status, speed and expected end."""
    counts = "  ".join(f"{s} {progress.statuses[s]}" for s in STATUSES if progress.statuses.get(s))
    ahead = "" if progress.remaining_s is None else f"  ETA {_clock(progress.remaining_s)}"
    return f"{progress.done}/{progress.total}  {counts}  {progress.per_second:.1f} tasks/s{ahead}"


def _bar(progress: Progress) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row(ProgressBar(total=max(1, progress.total), completed=progress.done, width=30), Text(line(progress)))
    return table


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )
