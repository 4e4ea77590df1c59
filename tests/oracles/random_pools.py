"""Small random pools problems with capacities given as data, and their answers by trying every fleet.

The oracle shares nothing with the search: carrying is a linear program of scipy on small integers, packing and spares
are tried assignment by assignment.
"""

from __future__ import annotations

import itertools
from functools import cache
from random import Random

import numpy as np
from scipy.optimize import linprog

from shardproof.formulations.pools.problem import Kind, Limit, Load, PoolsProblem, Supply

NEARLY = 1 - 1e-7
Nodes = list[tuple[int, tuple[int, ...]]]


def random_pools(seed: int) -> PoolsProblem:
    """Return the problem of a seed."""
    random = Random(f"pools {seed}")
    size = random.choice((1, 2, 2, 3))
    demand = tuple(random.randint(1, 7) for _ in range(size))
    supplies = tuple(_supply(random, place) for place in range(random.randint(1, 2)))
    kinds: list[Kind] = []
    for _ in range(random.randint(1, 3)):
        offer = random.randrange(len(supplies))
        gpus = random.choice((1, 1, 2, 3, supplies[offer].node, 2 * supplies[offer].node))
        kinds.append(Kind(offer, offer, gpus, _loads(random, size, gpus)))
    top = random.randint(4, 12)
    limits = [Limit("max_gpus", (1,) * len(supplies), top)]
    if random.random() < 0.3:
        limits.append(Limit("price", tuple(random.randint(1, 4) for _ in supplies), random.randint(5, 20)))
    spare = random.choice((None, None, "replica", "node"))
    placement = random.choice(("packed", "packed", "whole-nodes"))
    gone = 1 if spare is None else random.choice((1, 1, 2))
    return PoolsProblem(demand, tuple(dict.fromkeys(kinds)), supplies, tuple(limits), placement, spare, gone)  # type: ignore[arg-type]


def _supply(random: Random, place: int) -> Supply:
    node = random.choice((1, 2, 3, 4))
    kind = random.randrange(4)
    nodes: tuple[tuple[int, int], ...] | None = None
    if kind in (1, 3):
        nodes = ((node, random.randint(1, 4)),)
    elif kind == 2:
        gpus = random.randint(1, 9)
        nodes = tuple(pair for pair in ((node, gpus // node), (gpus % node, 1)) if pair[0] and pair[1])
    return Supply(f"s{place}", node, nodes, random.randint(1, 7), by_node=kind == 3)


def _loads(random: Random, size: int, gpus: int) -> tuple[Load, ...]:
    if random.random() < 0.5:
        return (tuple(random.randint(0, 3 + gpus) for _ in range(size)),)
    rates = [random.randint(1, 4 + 2 * gpus) for _ in range(size)]
    return tuple(tuple(rate * (s == at) for s in range(size)) for at, rate in enumerate(rates))


def carries(problem: PoolsProblem, counts: tuple[int, ...], demand: Load | None = None) -> bool:
    """Whether replicas carry the demand, mixing their loads by time."""
    demand = problem.demand if demand is None else demand
    columns = [(at, load) for at, kind in enumerate(problem.kinds) for load in kind.loads]
    upper = [[-load[s] for _, load in columns] + [asked] for s, asked in enumerate(demand)]
    upper += [[float(at == place) for at, _ in columns] + [0] for place in range(len(problem.kinds))]
    right = [0] * len(demand) + list(counts)
    found = linprog([0] * len(columns) + [-1], A_ub=np.array(upper, float), b_ub=right, method="highs")
    return found.fun is not None and -found.fun >= NEARLY


def _paid(problem: PoolsProblem, counts: tuple[int, ...], nodes: list[int]) -> list[int]:
    """GPUs that are paid of each offer: those of replicas, or of nodes."""
    found = []
    for o, supply in enumerate(problem.supplies):
        own = sum(kind.gpus * n for kind, n in zip(problem.kinds, counts, strict=True) if kind.offer == o)
        found.append(max(own, nodes[o] * supply.node) if supply.by_node else own)
    return found


def _allowed(problem: PoolsProblem, paid: list[int]) -> bool:
    return all(sum(r * p for r, p in zip(x.rates, paid, strict=True)) <= x.top for x in problem.limits)


def _cost(problem: PoolsProblem, paid: list[int]) -> int:
    return sum(supply.cost * p for supply, p in zip(problem.supplies, paid, strict=True))


def _ways(problem: PoolsProblem, counts: tuple[int, ...], offer: int) -> list[Nodes]:
    """Every way, up to the order of nodes, in which an offer's replicas stand in its nodes."""
    supply = problem.supplies[offer]
    sizes = [size for size, n in supply.nodes or ((supply.node, sum(counts) * 3),) for _ in range(n)]
    replicas = [at for at, kind in enumerate(problem.kinds) if kind.offer == offer for _ in range(counts[at])]
    found: set[tuple[tuple[int, tuple[int, ...]], ...]] = set()

    def place(rest: list[int], nodes: tuple[tuple[int, tuple[int, ...]], ...], left: tuple[int, ...]) -> None:
        if not rest:
            found.add(tuple(sorted(nodes)))
            return
        at, width = rest[0], problem.kinds[rest[0]].gpus
        if width > supply.node:
            need = -(-width // supply.node)
            whole = [size for size in left if size == supply.node]
            if len(whole) >= need:
                others = [size for size in left if size != supply.node] + whole[need:]
                place(rest[1:], nodes + ((supply.node, (-1, at)),) * need, tuple(others))
            return
        for index, (size, held) in enumerate(nodes):
            fits = problem.placement == "packed" and held[0] >= 0
            if fits and sum(problem.kinds[k].gpus for k in held) + width <= size:
                more = (size, tuple(sorted((*held, at))))
                place(rest[1:], (*nodes[:index], more, *nodes[index + 1 :]), left)
        for size in set(left):
            if width <= size:
                fewer = list(left)
                fewer.remove(size)
                place(rest[1:], (*nodes, (size, (at,))), tuple(fewer))

    place(sorted(replicas, key=lambda at: -problem.kinds[at].gpus), (), tuple(sizes))
    return [list(nodes) for nodes in found]


def cheapest(problem: PoolsProblem, demand: Load | None = None) -> int | None:
    """Cost of the cheapest fleet by trying every one (``None``: there is none)."""
    best: int | None = None

    @cache
    def carried(counts: tuple[int, ...]) -> bool:
        return carries(problem, counts, demand)

    none = [0] * len(problem.supplies)
    for counts in itertools.product(*(range(top + 1) for top in problem.tops[: len(problem.kinds)])):
        least = _paid(problem, counts, none)
        if not _allowed(problem, least) or (best is not None and _cost(problem, least) >= best):
            continue
        if not carried(counts) or not all(map(carried, _without_one(problem, counts))):
            continue
        ways = [_ways(problem, counts, offer) for offer in range(len(problem.supplies))]
        for nodes in itertools.product(*ways):
            paid = _paid(problem, counts, [len(found) for found in nodes])
            cost = _cost(problem, paid)
            better = (best is None or cost < best) and _allowed(problem, paid)
            if better and all(map(carried, _without_a_node(problem, counts, list(nodes)))):
                best = cost
    return best


def _without_one(problem: PoolsProblem, counts: tuple[int, ...]) -> set[tuple[int, ...]]:
    """What is left when any replicas are gone, tried one after the other."""
    cases = {counts} if problem.spare is not None and any(counts) else set()
    for _ in range(min(problem.gone, sum(counts))):
        cases = {tuple(n - (at == k) for at, n in enumerate(case)) for case in cases for k, m in enumerate(case) if m}
    return cases


def _without_a_node(problem: PoolsProblem, counts: tuple[int, ...], nodes: list[Nodes]) -> set[tuple[int, ...]]:
    """What is left when any nodes are gone; the nodes of a wide replica stand one after the other."""
    if problem.spare != "node":
        return set()
    every = [node for found in nodes for node in found]
    wide: dict[int, list[int]] = {}
    for place, (_, held) in enumerate(every):
        if held[0] < 0:
            wide.setdefault(held[1], []).append(place)
    owner = {place: (at, k // _touched(problem, at)) for at, own in wide.items() for k, place in enumerate(own)}
    cases: set[tuple[int, ...]] = set()
    for lost in itertools.combinations(range(len(every)), min(problem.gone, len(every))):
        gone = [at for place in lost if place not in owner for at in every[place][1]]
        gone += [at for at, _ in {owner[place] for place in lost if place in owner}]
        cases.add(tuple(n - gone.count(at) for at, n in enumerate(counts)))
    return cases


def _touched(problem: PoolsProblem, at: int) -> int:
    kind = problem.kinds[at]
    return -(-kind.gpus // problem.supplies[kind.offer].node)
