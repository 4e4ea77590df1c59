"""Who holds a claim: a process on a machine, and whether it is still alive."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

SILENCE_S = 120.0
"""A holder on another machine that has not shown itself for this long is taken for dead."""


@dataclass(frozen=True)
class Owner:
    """One batch run in one process; ``started`` tells a process from a later one with the same number."""

    token: str
    host: str
    pid: int
    started: str

    def is_alive(self, *, silent_s: float) -> bool:
        """Whether the holder still runs; ``silent_s``: seconds since its last sign of life."""
        if self.host != socket.gethostname():
            return silent_s < SILENCE_S
        return _process_exists(self.pid) and self.started == process_start(self.pid)


def this_process() -> Owner:
    """Return an owner for the calling process, different from every other one."""
    pid = os.getpid()
    return Owner(token=uuid.uuid4().hex, host=socket.gethostname(), pid=pid, started=process_start(pid))


def process_start(pid: int) -> str:
    """When a process started, in ticks since boot; empty where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    started = 19
    return "" if fields[0] in ("Z", "X") else fields[started]


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
