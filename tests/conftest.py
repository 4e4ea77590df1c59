"""What holds for all tests: time limits count own work, and lines are counted in quick tests alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from shardproof.instances.clock import measured_by


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
