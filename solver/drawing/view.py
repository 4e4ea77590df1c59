"""What is drawn of an answer: stages, memory and times by part, the prefill timeline, groups that differ, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_NODES = 400
"""Nodes that are drawn; the rest are counted."""
_STAGE = ("layers", "gpus", "attn_tp", "attn_dp", "moe_tp", "moe_ep", "memory_bytes", "time_ns")
_TEXTS = ("assumptions", "explanation")
_OFFERED = ("model", "pool", "phase", "offer", "device", "replicas", "gpus_each", "takes", "shown")

Tree = Mapping[str, Any]


def plan_view(document: Tree, facts: Tree) -> dict[str, Any]:
    """Return what the page shows of one answer: stages, memory and times by part, timeline, groups, texts.

    ``facts``: of the task (`shardproof.solver.batch.tasks.run_task`); a fleet's ``pools`` have their own, by name.
    """
    plan = document.get("plan") or {}
    nodes = plan.get("nodes") or ()
    return {
        "stages": [{key: stage.get(key) for key in _STAGE} for stage in plan.get("stages", ())],
        "replicas": plan.get("replicas"),
        "routed": facts.get("routed", True),
        "groups": [group_view(group, facts) for group in plan.get("groups") or ()],
        "nodes": list(nodes[:MOST_NODES]),
        "nodes_left_out": max(0, len(nodes) - MOST_NODES),
        "microbatch_tokens": plan.get("microbatch_tokens"),
        "memory_limit": facts.get("memory_bytes"),
        "timelines": _timelines(plan, facts.get("scenarios") or ()),
        "metrics": document.get("metrics"),
        "texts": {key: document.get(key) or [] for key in _TEXTS},
    }


def group_view(group: Tree, facts: Tree) -> dict[str, Any]:
    """Return what is shown of replicas that are alike: of a fleet of several devices, or of a mixed fleet of one."""
    if "offer" in group:
        own = (facts.get("pools") or {}).get(group.get("pool")) or {}
        plan = group.get("plan")
        found = {key: group.get(key) for key in _OFFERED} | {"shown": group.get("shown") or []}
    else:
        own, plan = facts, group
        found = {
            "offer": facts.get("device") or "its device",
            "phase": group.get("pool"),
            "replicas": group["replicas"],
        }
        found |= {"gpus_each": sum(stage["gpus"] for stage in group["stages"]), "shown": []}
        found["takes"] = [
            {"name": share["scenario"], "requests": share["requests"]} for share in group.get("shares") or ()
        ]
    return {
        **found,
        "model_name": own.get("model"),
        "engine": own.get("engine"),
        "gpus": found["replicas"] * found["gpus_each"],
        "view": None if plan is None else plan_view({"plan": plan}, own),
    }


def _timelines(plan: Tree, scenarios: Sequence[Tree]) -> list[dict[str, Any]]:
    """Per scenario the number of prefill microbatches of one replica, and the TTFT limit.

    Only the first scenario's stage times stand in a plan; replicas that only decode have no prefill.
    """
    asked = {scenario["name"]: scenario for scenario in scenarios}
    shares = {share["scenario"]: share["requests"] for share in plan.get("shares") or ()}
    found = []
    for run in list(plan.get("microbatches", ()) if plan.get("pool") != "decode" else ())[:1]:
        scenario = asked.get(run["scenario"])
        if scenario is not None:
            requests = shares.get(run["scenario"], -(-scenario["requests"] // plan["replicas"]))
            limit = scenario.get("ttft_limit_ns")
            count = max(1, -(-requests // run["prefill_requests"])) if scenario["kind"] == "burst" else 1
            found.append({"scenario": run["scenario"], "microbatches": count, "ttft_limit_ns": limit})
    return found
