"""The certificate of pools: the integer problem, the fleet, and the tree that refutes cheaper ones (docs/pools.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shardproof.formulations.pools.problem import Kind, PoolsProblem
from shardproof.formulations.pools.rows import Cover, Pack, Spec
from shardproof.formulations.pools.split import split
from shardproof.solver.checkers import pools as checker
from shardproof.solver.pools.losses import without_nodes, without_replicas
from shardproof.solver.pools.outcome import Asked, PoolsOutcome
from shardproof.solver.pools.search import Realised
from shardproof.solver.pools.tree import Branch, Leaf, Tree

CERTIFIED = "certified"


@dataclass(frozen=True)
class PoolFacts:
    """What the certificate says of a pool: its offer, the demands it is about, which of them it serves.

    ``also``: further demands that requests of each count for as well (prefill and decode, where they may be apart).
    """

    name: str
    offer: int
    scenarios: tuple[int, ...]
    serves: tuple[bool, ...]
    also: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Evidence:
    """What stands behind an outcome: the question, and for exactly searched pools their programs and refused loads.

    ``programs``: by pool, the JSON of its program and its walls (none: a table of measurements).
    ``chains``: by kind of the fleet, its chain in the pool's program.
    """

    instance: str
    asked: Asked
    pools: tuple[PoolFacts, ...]
    outcome: PoolsOutcome
    programs: Mapping[int, tuple[dict[str, Any], list[dict[str, Any]]]]
    chains: Mapping[Kind, dict[str, Any]]
    by: str
    rates: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    """By pool whose requests come by themselves: what proves the rates of its kinds."""


def document(evidence: Evidence) -> dict[str, Any]:
    """Return the certificate as JSON values."""
    outcome, asked = evidence.outcome, evidence.asked
    problem = outcome.refuted
    rows, tree = _written_tree(outcome.tree)
    return {
        "format": checker.FORMAT,
        "instance": evidence.instance,
        "sense": "most" if asked.most_load else "least",
        "asked": list(asked.demand),
        "resolution": asked.resolution,
        "supplies": [_supply(supply) for supply in problem.supplies],
        "limits": [{"name": x.name, "rates": list(x.rates), "top": x.top} for x in problem.limits],
        "placement": problem.placement,
        "spare": problem.spare,
        "gone": problem.gone,
        "pools": [_pool(place, facts, evidence) for place, facts in enumerate(evidence.pools)],
        "kinds": [_kind(kind) for kind in problem.kinds],
        "plan": None if outcome.fleet is None else _plan(outcome.fleet, evidence),
        "claim": {
            "value": outcome.value,
            "bound": outcome.bound if outcome.tree is None else outcome.certified,
            "by": CERTIFIED if outcome.tree is not None else evidence.by,
            "rows": rows,
            "tree": tree,
        },
    }


def _supply(supply: Any) -> dict[str, Any]:
    nodes = None if supply.nodes is None else [list(pair) for pair in supply.nodes]
    return {
        "name": supply.name,
        "node": supply.node,
        "nodes": nodes,
        "cost": supply.cost,
        "by_node": int(supply.by_node),
    }


def _pool(place: int, facts: PoolFacts, evidence: Evidence) -> dict[str, Any]:
    program, walls = evidence.programs.get(place, (None, []))
    return {
        "name": facts.name,
        "offer": facts.offer,
        "scenarios": list(facts.scenarios),
        "serves": [int(serves) for serves in facts.serves],
        "also": [list(places) for places in facts.also],
        "program": program,
        "walls": walls,
        "rates": evidence.rates.get(place),
    }


def _kind(kind: Kind) -> dict[str, Any]:
    return {"offer": kind.offer, "pool": kind.pool, "gpus": kind.gpus, "loads": [list(load) for load in kind.loads]}


def seated(fleet: Realised) -> list[list[Any]]:
    """Nodes in use: offer, GPUs, replicas of each group, and whether it is one of a wide replica's."""
    used = [place for place, _ in enumerate(fleet.problem.kinds) if fleet.values[place]]
    at = {place: group for group, place in enumerate(used)}
    nodes = []
    for node in (node for found in fleet.nodes for node in found):
        held = Counter(at[place] for place in node.kinds)
        nodes.append([node.offer, node.gpus, [held[k] for k in range(len(used))], int(node.wide is not None)])
    return nodes


def seated_cases(fleet: Realised) -> list[tuple[int, ...]]:
    """Replicas of each group that are left in each case of something being gone."""
    return list(cases_of(fleet.problem, [count for _, count in fleet.groups], seated(fleet)))[1:]


def _plan(fleet: Realised, evidence: Evidence) -> dict[str, Any]:
    problem = fleet.problem
    used = [place for place, _ in enumerate(problem.kinds) if fleet.values[place]]
    kinds, counts = [problem.kinds[place] for place in used], [fleet.values[place] for place in used]
    nodes = seated(fleet)
    cases = list(cases_of(problem, counts, nodes))
    return {
        "groups": [
            {"kind": _kind(kind), "replicas": count, "chain": evidence.chains.get(kind)}
            for kind, count in zip(kinds, counts, strict=True)
        ],
        "nodes": nodes,
        "shares": [_shares(problem, kinds, case) for case in cases],
    }


def cases_of(problem: PoolsProblem, counts: Sequence[int], nodes: Sequence[Sequence[Any]]) -> Iterator[tuple[int, ...]]:
    """Replicas that are left: all; and with spares when any replicas, or any nodes, are gone, as many as may be."""
    yield tuple(counts)
    if problem.spare == "replica":
        yield from without_replicas(counts, problem.gone)
    elif problem.spare == "node":
        yield from without_nodes(counts, [held for _, _, held, _ in nodes], problem.gone)


def _shares(problem: PoolsProblem, kinds: Sequence[Kind], counts: Sequence[int]) -> list[Any]:
    """How the time of each group is split over its loads, in parts of a unit."""
    if all(len(kind.loads) == 1 for kind in kinds):
        return [1, [[count] for count in counts]]
    found = split(problem.demand, kinds, counts)
    parts = [part for times in found.times for part in times]
    unit = max(part.denominator for part in parts)
    for part in parts:
        if unit % part.denominator:
            unit *= part.denominator
    return [unit, [[int(part * unit) for part in times] for times in found.times]]


def _written_tree(tree: Tree | None) -> tuple[list[Any], list[Any]]:
    rows: dict[Spec, int] = {}
    nodes: list[Any] = []

    def write(node: Tree) -> None:
        if isinstance(node, Branch):
            nodes.append(["split", node.variable, node.at])
            write(node.low)
            write(node.high)
        else:
            leaf: Leaf = node
            pairs = [[rows.setdefault(spec, len(rows)), factor] for spec, factor in leaf.rows]
            nodes.append(["leaf", leaf.objective, pairs])

    if tree is not None:
        write(tree)
    return [_spec(spec) for spec in rows], nodes


def _spec(spec: Spec) -> list[Any]:
    if isinstance(spec, Cover):
        lost, there = spec.lost or ("", ())
        return ["cover", list(spec.weights), lost, 0, [list(pair) for pair in there]]
    if isinstance(spec, Pack):
        return ["pack", list(spec.weights), "", spec.offer, []]
    return ["limit", [], "", spec.limit, []]
