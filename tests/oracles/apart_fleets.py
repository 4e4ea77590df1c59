"""Fleets of several devices with prefill and decode apart, by trying every chain, every link and every fleet.

Written from docs/apart.md: which decode devices a fleet has says on which link its prefill replicas send; what each
width carries comes from `tests.oracles.apart_brute_force`, and a table over (prompts, requests) holds the least cost.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from shardproof.formulations.apart.phases import as_together
from shardproof.instances.instance import Instance
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.pools_resolve import resolve_pools
from shardproof.solver.problem import deployment_of
from tests.oracles.apart_brute_force import carried_by, small_instance

OFFERS = ("a100-80-sxm", "h100-sxm", "l40s")
LINKS = (3, 10, 40)
"""GB/s of scale-out links in these questions."""

TWO: dict[str, Any] = {
    "model": "llama-3.1-8b-instruct",
    "engine": "vllm",
    "devices": "h100-sxm:prefill=16@2 USD/h,a100-80-sxm:decode=32@1.1 USD/h",
    "objective": "price",
    "workload": {"kind": "burst", "batch_size": 24, "input_tokens": 2048, "output_tokens": 256},
    "limits": {"ttft": "1 s", "tpot": "20 ms"},
    "serving": "apart",
}
"""A question of one device for prompts and another for tokens."""


def small_question(seed: int, serving: str = "any") -> PoolsQuestion:
    """Return a random burst to the first layers of a model, on two devices with prices and links of their own."""
    chance = random.Random(seed)
    chosen = chance.sample(OFFERS, 2)
    prices = [chance.randint(1, 9) for _ in chosen]
    links = [chance.choice(LINKS) for _ in chosen]
    base = small_instance(seed)
    load = base.scenarios[0].workload
    phases: list[list[str]] = [chance.choice([[], [], ["prefill"], ["decode"]]) for _ in chosen]
    if phases[0] == phases[1]:
        phases[0] = []
    tree: dict[str, Any] = {
        "model": base.model.name,
        "devices": [
            {
                "device": name,
                "price_per_hour": f"{price} USD/h",
                "phases": own,
                "hardware": {"scale_out": {"bandwidth": f"{link} GB/s", "latency": "1 ms"}},
            }
            for name, link, price, own in zip(chosen, links, prices, phases, strict=True)
        ],
        "objective": "price",
        "efficiency": "flat",
        "workload": {"kind": "burst", "input_tokens": load.input_tokens, "output_tokens": load.output_tokens}
        | {"batch_size": load.requests},
        "limits": {"max_gpus": 10},
        "max_stage_gpus": 2,
        "runtime_reserve": "100 MB",
        "serving": serving,
    }
    found = resolve_pools(tree, where="test")
    pools = (pool for pool in found.pools if pool.instance.engine == "any")
    return found.model_copy(update={"pools": tuple(pool.model_copy(update=_small(pool, base)) for pool in pools)})


def _small(pool: Any, base: Instance) -> dict[str, Any]:
    """Few layers, and the limits and memory that `small_instance` found tight."""
    whole: Instance = pool.instance
    model = whole.model.model_copy(update={"layer_kinds": base.model.layer_kinds})
    changes = {"model": model, "scenarios": base.scenarios, "memory_limit": base.memory_limit * 3 // 2}
    return {"instance": whole.model_copy(update=changes)}


def least_cost(question: PoolsQuestion) -> int | None:
    """Return the least price of a fleet within the budget of GPUs; ``None``: there is none."""
    takers = [offer for offer in range(len(question.offers)) if _instances(question, offer, "decode")]
    costs = [
        _least(question, frozenset(chosen)) for size in range(len(takers) + 1) for chosen in combinations(takers, size)
    ]
    return min((cost for cost in costs if cost is not None), default=None)


def _instances(question: PoolsQuestion, offer: int, phase: str | None) -> list[Instance]:
    return [pool.instance for pool in question.pools if pool.offer == offer and pool.phase == phase]


def _least(question: PoolsQuestion, takers: frozenset[int]) -> int | None:
    """Return the least price of a fleet whose decode replicas stand on these offers (or fewer) alone."""
    demand = int(question.demand[0])
    kinds = list(_kinds(question, takers))
    best: dict[tuple[int, int, int], int] = {(0, 0, 0): 0}
    for gpus, prompts, requests, price in kinds:
        for held in sorted(best):
            at, cost = held, best[held]
            while at[0] + gpus <= question.max_gpus and (at[1] < demand or at[2] < demand):
                at = (at[0] + gpus, min(demand, at[1] + prompts), min(demand, at[2] + requests))
                cost += price
                if cost < best.get(at, cost + 1):
                    best[at] = cost
    return min((cost for (_, *carried), cost in best.items() if carried == [demand, demand]), default=None)


def _kinds(question: PoolsQuestion, takers: frozenset[int]) -> Iterator[tuple[int, int, int, int]]:
    """GPUs, prompts and requests carried, and price of every useful replica."""
    for offer, stock in enumerate(question.offers):
        assert stock.price is not None
        for phase in (None, "prefill", "decode"):
            found = _instances(question, offer, phase)
            if not found or (phase == "decode" and offer not in takers) or (phase == "prefill" and not takers):
                continue
            asked = _sending(question, offer, takers, found[0]) if phase == "prefill" else found[0]
            deployment = deployment_of(as_together(asked))
            for gpus, most in enumerate(carried_by(deployment, phase or "both")):
                if most:
                    yield gpus, most * (phase != "decode"), most * (phase != "prefill"), gpus * stock.price


def _sending(question: PoolsQuestion, offer: int, takers: frozenset[int], asked: Instance) -> Instance:
    """Return the question of a prefill replica that sends to these offers: the slowest link of all."""
    own = [question.pools[at].instance.device for at in _first_pools(question, (offer, *takers))]
    links = [device.scale_out for device in own]
    transfer = asked.transfer.model_copy(
        update={
            "bandwidth": int(min(link.bandwidth * link.efficiency for link in links)),
            "setup": max(link.latency for link in links),
        }
    )
    return asked.model_copy(update={"transfer": transfer})


def _first_pools(question: PoolsQuestion, offers: tuple[int, ...]) -> list[int]:
    return [next(at for at, pool in enumerate(question.pools) if pool.offer == offer) for offer in offers]
