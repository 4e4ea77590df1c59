"""The Python blocks of the documents run, in order, as they stand."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

from tests.oracles.places import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(
    page for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) if BLOCK.search(page.read_text("utf-8"))
)


@pytest.mark.slow  # a page asks whole questions: five to ten seconds
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("name", ["solved", "catalogued"])
def test_examples_of_docstrings_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"shardproof.solver.api.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
