"""What the page holds: the rows of a run, and each different plan once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shardproof.instances.reading import is_file, refuse
from shardproof.solver.batch.ledger import Ledger, RunTask
from shardproof.solver.batch.rows import Row, rows_of, swept_axes
from shardproof.solver.drawing.view import plan_view

MOST_PLANS = 5000
"""Plans that one page holds; a page of more would be slow to open."""


@dataclass
class Content:
    """Everything on a page; ``plans`` are found from rows by their index."""

    title: str
    description: str
    swept: tuple[str, ...]
    rows: list[Row]
    plan_of: list[int | None]
    plans: list[dict[str, Any]]
    left_out: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> list[dict[str, Any]]:
        """Cells of every row, with the index of its plan."""
        cells = (row.cells(self.swept) for row in self.rows)
        return [cell | {"plan": plan} for cell, plan in zip(cells, self.plan_of, strict=True)]


def read_content(source: Path, *, run: str | None = None) -> Content:
    """Read a run from its folder or ledger file.

    Raises
    ------
    InputError
        If there is no ledger, or no run of that name in it.
    """
    path = source / "ledger.sqlite" if source.is_dir() else source
    if not is_file(path):
        raise refuse(str(source), "holds no run; give the folder that 'shardproof batch' wrote, or its ledger")
    ledger = Ledger(path, read_only=True)
    try:
        runs = ledger.runs()
        name = run if run is not None else next(reversed(runs), None)
        if name is None or name not in runs:
            known = ", ".join(runs) or "none"
            raise refuse(str(path), f"has no such run; runs: {known}", field="--run", value=name or "")
        with ledger.guarded():
            return _content(ledger, name, runs[name])
    finally:
        ledger.close()


def _content(ledger: Ledger, name: str, facts: Mapping[str, Any]) -> Content:
    tasks = ledger.run_tasks(name)
    independent = bool(facts.get("independent"))
    rows = rows_of(ledger, tasks, independent=independent)
    for row in rows:
        row.check_kinds()
    content = Content(
        title=name,
        description=str(facts.get("description") or ""),
        swept=tuple(facts.get("swept") or swept_axes(rows)),
        rows=rows,
        plan_of=[],
        plans=[],
    )
    seen: dict[str, int] = {}
    for task in tasks:
        content.plan_of.append(_plan_index(content, seen, ledger, task))
    return content


def _plan_index(content: Content, seen: dict[str, int], ledger: Ledger, task: RunTask) -> int | None:
    if len(content.plans) >= MOST_PLANS:
        content.left_out += 1
        return None
    text = ledger.document(task.fingerprint)
    if text is None:
        return None
    document = json.loads(text)
    content.versions = content.versions or document.get("versions") or {}
    plan = plan_view(document, task.facts)
    key = json.dumps(plan, sort_keys=True)
    if key not in seen:
        seen[key] = len(content.plans)
        content.plans.append(plan)
    return seen[key]
