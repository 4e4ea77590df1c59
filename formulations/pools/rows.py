"""Rows by what they say, so that they can be written for any kinds, and named in a certificate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb

from shardproof.formulations.pools.problem import Lost, PoolsProblem, Row


@dataclass(frozen=True)
class Cover:
    """Under ``weights`` the demand is carried; with ``lost``, by what is left."""

    weights: tuple[int, ...]
    lost: Lost | None = None


@dataclass(frozen=True)
class Pack:
    """Replicas fit into an offer's nodes, by ``weights`` of widths 0 .. node."""

    offer: int
    weights: tuple[int, ...]


@dataclass(frozen=True)
class Within:
    """A limit of the problem, by its place."""

    limit: int


Spec = Cover | Pack | Within


MOST_WAYS = 60
"""Ways in which lost nodes fall on offers that are written as rows, at most."""
MOST_STEPS = 16
"""Dual feasible functions that are written for each offer, at most."""


def row_of(problem: PoolsProblem, spec: Spec, nodes: Sequence[int] | None = None) -> Row:
    """Write a row for the kinds of a problem; ``nodes``: those in use at most of every offer."""
    if isinstance(spec, Cover):
        return problem.cover_row(spec.weights, spec.lost, nodes)
    if isinstance(spec, Pack):
        return problem.pack_row(spec.offer, spec.weights)
    return problem.limit_row(problem.limits[spec.limit])


def unit_weights(problem: PoolsProblem) -> list[tuple[int, ...]]:
    """Weights that look at one demand each."""
    size = len(problem.demand)
    return [tuple(int(s == place) for s in range(size)) for place in range(size)]


def first_rows(problem: PoolsProblem) -> list[Spec]:
    """Rows that hold from the beginning: nodes and limits."""
    found: list[Spec] = [Within(place) for place in range(len(problem.limits))]
    for place, supply in enumerate(problem.supplies):
        if supply.nodes is not None or supply.by_node:
            found += [Pack(place, weights) for weights in pack_weights(problem, place)]
    return found


def pack_weights(problem: PoolsProblem, place: int) -> list[tuple[int, ...]]:
    """Weights of widths that bound what nodes hold: GPUs, widths above a threshold, and dual feasible functions.

    The last are floor((k + 1) w / m) for k = 1 .. m - 1 (Fekete and Schepers, 2001): one more than k of m / (k + 1) + 1
    GPUs never fit.
    """
    node, widths = problem.supplies[place].node, range(problem.supplies[place].node + 1)
    sizes = {gpus for gpus, _ in problem.supplies[place].nodes or ()} | {node}
    steps = range(1, min(node, MOST_STEPS))
    rows = {tuple(widths)} if problem.placement == "packed" else set()
    rows |= {tuple(int(width > edge) for width in widths) for edge in {0} | sizes | {size // 2 for size in sizes}}
    if problem.placement == "packed":
        rows |= {tuple((k + 1) * width // node for width in widths) for k in steps}
    return sorted(row for row in rows if any(row))


def lost_nodes(problem: PoolsProblem) -> list[Lost]:
    """Return how the nodes that may be gone fall on offers whose nodes are counted, in every way if these are few.

    Where there are too many ways, all fall on one offer.
    """
    held = [place for place in range(len(problem.supplies)) if problem.most_nodes(place)]
    ways = list(_shared(held, problem.gone)) if comb(len(held) + problem.gone, problem.gone) <= MOST_WAYS else []
    ways = ways or [((place, problem.gone),) for place in held]
    return [("node", way) for way in ways]


def _shared(offers: Sequence[int], gone: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield how so many nodes are shared out over offers."""
    for chosen in combinations_with_replacement(offers, gone):
        yield tuple(sorted(Counter(chosen).items()))
