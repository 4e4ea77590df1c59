"""What holds for all tests: how many run at once, whose time limits count, and of which tests lines are counted."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shardproof.instances.clock import measured_by

WORKERS = 8
"""What `-n auto` starts where there is room: where others use the machine too, each process gets one share of it."""
WORKER_BYTES = 10**9
"""Memory that a worker may come to need, and what it starts."""
COUNTED_SECONDS = 0.5
"""Processor time of a test, and of what is set up for it, in which its lines are counted."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Start a worker for each core, and more on a small machine whose memory has room for twice of them."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if hasattr(os, "sysconf") else 0
    return max(min(WORKERS, room // WORKER_BYTES), os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def _own_time() -> Iterator[None]:
    """Measure time limits by this process's own work: what a search finds in its time is the same on a busy machine."""
    with measured_by(time.process_time):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let slow tests run at full speed: quick ones reach the same lines, and counting more than doubles the time."""
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Count lines in the beginning of what is set up, and go on at full speed."""
    with _counted_at_first():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Count lines in the beginning of a test, and go on at full speed: a search comes to its lines again and again."""
    if item.get_closest_marker("no_cover") is not None:
        return (yield)
    with _counted_at_first():
        return (yield)


@contextmanager
def _counted_at_first() -> Iterator[None]:
    coverage = sys.modules.get("coverage")
    counting = coverage and coverage.Coverage.current()
    if counting is None or not hasattr(signal, "setitimer"):
        yield
        return
    stopped = []

    def stop(*_: object) -> None:
        counting.stop()
        stopped.append(True)

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.siginterrupt(signal.SIGVTALRM, False)  # libraries' own calls of the system go on
    signal.setitimer(signal.ITIMER_VIRTUAL, COUNTED_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        if stopped:
            counting.start()
