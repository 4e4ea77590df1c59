"""Programs of single replicas in a certificate of pools: per pool its loads refused, and the chains of the fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shardproof.formulations.pools.problem import Kind
from shardproof.solver.pools.outcome import PoolsOutcome
from shardproof.solver.pools.pooled import SearchedPool
from shardproof.solver.pools.work import Chosen
from shardproof.solver.proof.certificate_json import Shares, write_tree
from shardproof.solver.search.capacities import Known


def programs_of(
    pools: Sequence[object], chosen: Mapping[Kind, Chosen], outcome: PoolsOutcome, chains: dict[Kind, dict[str, Any]]
) -> dict[int, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return every pool's program and walls as JSON; chains of the fleet's kinds go into ``chains``."""
    used = () if outcome.fleet is None else tuple(kind for kind, _ in outcome.fleet.groups)
    found = {}
    for place, pool in enumerate(pools):
        if not isinstance(pool, SearchedPool):
            continue
        shares = Shares()
        claims = pool.floor.claims if pool.deployment.options else []
        for claim in claims:
            shares.refuse(claim)
        for kind in used:
            if kind.pool == place:
                chains[kind] = chain_of(shares, chosen[kind][1])  # type: ignore[arg-type]
        walls = [
            {
                "gpus": claim.gpus,
                "share": shares.place(claim.load, claim.layouts),
                "trees": None if claim.trees is None else list(map(write_tree, claim.trees)),
            }
            for claim in claims
        ]
        found[place] = shares.write(pool.deployment.program, replicas="free"), walls
    return found


def chain_of(shares: Shares, known: Known) -> dict[str, Any]:
    """Return a replica's chain as JSON."""
    program, chain, load = known
    return {
        "replicas": 1,
        "share": shares.plan(load, program.layouts, chain.layout),
        "layout": chain.layout,
        "choices": list(chain.choices),
        "stages": [[stage.start, stage.stop, stage.option] for stage in chain.stages],
    }
