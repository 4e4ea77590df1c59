"""A fleet of several devices or models as the page shows it: what each group and offer is, stands in and costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shardproof.instances.pools import PoolsQuestion, Stock
from shardproof.instances.units import format_gpus
from shardproof.solver.batch.answer import Task
from shardproof.solver.batch.tasks import pool_facts
from shardproof.solver.drawing.view import MOST_NODES, group_view
from shardproof.solver.writers.fleet import UNNAMED

_SAID = ("objective", "unit", "value", "bound", "certified_bound")


def task_of(question: PoolsQuestion) -> Task:
    """Return a question about pools as a task, of which a row is made."""
    models = " and ".join(dict.fromkeys(pool.model for pool in question.pools)) or "measured replicas"
    devices = " + ".join(dict.fromkeys(stock.device for stock in question.offers))
    engines = {pool.instance.engine for pool in question.pools}
    engine = engines.pop() if len(engines) == 1 else "any"
    return Task(0, {"model": models, "device": devices}, models, devices, engine, "page", None, fleet=question)


def fleet_view(question: PoolsQuestion, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of an answer about pools."""
    plan = document.get("plan") or {}
    groups, nodes = plan.get("groups") or (), plan.get("nodes") or ()
    stocks = {stock.name: stock for stock in question.offers}
    return {
        **{key: document.get(key) for key in _SAID},
        "name": task_of(question).model if question.name in UNNAMED else question.name,
        "demands": [
            {"name": question.title(place), "demand": float(count), "rated": is_rate}
            for place, (count, is_rate) in enumerate(zip(question.demand, _rates(question), strict=True))
        ],
        "groups": [_group(question, stocks[group["offer"]], group) for group in groups],
        "offers": [_offer(stock, groups, nodes) for stock in question.offers],
        "nodes": list(nodes[:MOST_NODES]),
        "nodes_left_out": max(0, len(nodes) - MOST_NODES),
        "spared": [_case(case, groups) for case in plan.get("spared") or ()],
    }


def _rates(question: PoolsQuestion) -> tuple[bool, ...]:
    """Whether each demand is a number of requests per second."""
    return question.rated if question.pools else (True,) * len(question.demand)


def _group(question: PoolsQuestion, stock: Stock, group: Mapping[str, Any]) -> dict[str, Any]:
    own = {pool.name: pool_facts(pool) for pool in question.pools if pool.name == group.get("pool")}
    found = group_view(group, {"pools": own})
    return found | {"price_per_hour": _paid(stock, found["gpus"])}


def _offer(stock: Stock, groups: Any, nodes: Any) -> dict[str, Any]:
    used = sum(group["replicas"] * group["gpus_each"] for group in groups if group["offer"] == stock.name)
    paid = sum(node["gpus"] for node in nodes if node["offer"] == stock.name) if stock.by_node else used
    return {
        "name": stock.name,
        "device": stock.device,
        "there_are": stock.gpus,
        "node": stock.node,
        "price": None if stock.price is None else stock.price / 1e6,
        "price_kind": stock.price_kind,
        "sold": "nodes" if stock.by_node else "gpus",
        "used": used,
        "paid": paid,
        "price_per_hour": _paid(stock, paid),
    }


def _paid(stock: Stock, gpus: int) -> float | None:
    return None if stock.price is None else stock.price * gpus / 1e6


def _case(case: Mapping[str, Any], groups: Any) -> dict[str, Any]:
    """Say what is left when something is gone."""
    lost = sum(
        (group["replicas"] - left) * group["gpus_each"] for group, left in zip(groups, case["replicas"], strict=True)
    )
    return {"gone": case["gone"], "lost": format_gpus(lost), "carried": case["carried"]}
