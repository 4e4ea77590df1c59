"""A refutation of replicas that are all alike, read as loads that single replicas are refused."""

from __future__ import annotations

from collections.abc import Sequence

from shardproof.formulations.deployment.tables import Layout, replicas_of
from shardproof.solver.proof.refutation import CapacityClaim, Node


def alike_claims(
    layouts: Sequence[Layout], gpus: int, trees: tuple[Node, ...] | None, demand: tuple[int, ...]
) -> list[CapacityClaim]:
    """Read the refutation of ``gpus`` GPUs in replicas all alike as one claim for each replica count."""
    found: dict[int, list[int]] = {}
    for place, replicas in enumerate(replicas_of(layouts)):
        found.setdefault(replicas, []).append(place)
    claims = []
    for replicas, places in found.items():
        load = tuple(-(-requests // replicas) for requests in demand)
        own = None if trees is None else tuple(trees[place] for place in places)
        if gpus // replicas:
            mine = tuple(layouts[place] for place in places)
            claims.append(CapacityClaim(gpus // replicas, load, mine, own))
    return claims
