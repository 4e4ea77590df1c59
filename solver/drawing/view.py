"""What is drawn of an answer: stages, memory and times by part, the prefill timeline, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_STAGE = ("layers", "gpus", "attn_tp", "attn_dp", "moe_tp", "moe_ep", "memory_bytes", "time_ns")
_TEXTS = ("assumptions", "explanation")


def plan_view(document: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of one answer: stages, memory and times by part, timeline, texts."""
    plan = document.get("plan") or {}
    groups = [group.get("plan") or group for group in plan.get("groups") or [plan]]
    return {
        "stages": [{key: stage.get(key) for key in _STAGE} for group in groups for stage in group.get("stages", ())],
        "replicas": plan.get("replicas"),
        "routed": facts.get("routed", True),
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
        if "offer" in group:
            found.append(_offered(group))
            continue
        width = sum(stage["gpus"] for stage in group["stages"])
        shares = group.get("shares") or ()  # a pool of replicas all alike says none
        takes = " and ".join(f"{share['requests']} of {share['scenario']}" for share in shares)
        pool = f"{group['pool']} pool: " if group.get("pool") else ""
        each = f", requests each: {takes}" if takes else ""
        found.append(f"{pool}{group['replicas']} x {width} GPUs, {len(group['stages'])} stages{each}")
    return found


def _offered(group: Mapping[str, Any]) -> str:
    """Say what a group of a fleet over several devices and models is."""
    takes = " and ".join(f"{one.get('requests') or one.get('rate_per_s')} of {one['name']}" for one in group["takes"])
    model = f"{group['model']} on " if group.get("model") else ""
    model = f"{group['phase']} pool, {model}" if group.get("phase") else model
    return f"{model}{group['offer']}: {group['replicas']} x {group['gpus_each']} GPUs, requests each: {takes}"


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
