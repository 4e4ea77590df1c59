"""What the page holds: the rows of a run, and each different plan once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shardproof.instances.reading import is_file, refuse
from shardproof.solver.batch.ledger import Ledger, RunTask
from shardproof.solver.batch.rows import Row, rows_of, swept_axes

MOST_PLANS = 5000
"""Plans that one page holds; a page of more would be slow to open."""

_STAGE = ("layers", "gpus", "attn_tp", "attn_dp", "moe_tp", "moe_ep", "memory_bytes", "time_ns")
_TEXTS = ("assumptions", "explanation")


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
        return _content(ledger, name, runs[name])
    finally:
        ledger.close()


def _content(ledger: Ledger, name: str, facts: Mapping[str, Any]) -> Content:
    tasks = ledger.run_tasks(name)
    independent = bool(facts.get("independent"))
    rows = rows_of(ledger, tasks, independent=independent)
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


def plan_view(document: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of one answer: stages, memory and times by part, timeline, texts."""
    plan = document.get("plan") or {}
    groups = plan.get("groups") or [plan]
    return {
        "stages": [{key: stage.get(key) for key in _STAGE} for group in groups for stage in group.get("stages", ())],
        "replicas": plan.get("replicas"),
        "fleet": _fleet(plan),
        "microbatch_tokens": plan.get("microbatch_tokens"),
        "memory_limit": facts.get("memory_bytes"),
        "timelines": _timelines(plan, facts.get("scenarios") or ()),
        "metrics": document.get("metrics"),
        "texts": {key: document.get(key) or [] for key in _TEXTS},
    }


def _fleet(plan: Mapping[str, Any]) -> list[str]:
    """Say what each group of a mixed fleet is (empty: replicas are all alike)."""
    found = []
    for group in plan.get("groups") or ():
        width = sum(stage["gpus"] for stage in group["stages"])
        takes = " and ".join(f"{share['requests']} of {share['scenario']}" for share in group["shares"])
        found.append(f"{group['replicas']} x {width} GPUs, {len(group['stages'])} stages, requests each: {takes}")
    return found


def _timelines(plan: Mapping[str, Any], scenarios: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per scenario the number of prefill microbatches of one replica, and the TTFT limit.

    Only the first scenario's stage times stand in a plan.
    """
    asked = {scenario["name"]: scenario for scenario in scenarios}
    found = []
    for run in list(plan.get("microbatches", ()))[:1]:
        scenario = asked.get(run["scenario"])
        if scenario is not None:
            requests = -(-scenario["requests"] // plan["replicas"])
            limit = scenario.get("ttft_limit_ns")
            count = -(-requests // run["prefill_requests"]) if scenario["kind"] == "burst" else 1
            found.append({"scenario": run["scenario"], "microbatches": count, "ttft_limit_ns": limit})
    return found
