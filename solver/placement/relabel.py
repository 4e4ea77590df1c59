"""Among placements of equal largest load: keep experts where they are, and load within its node.

All ranks are alike, so any relabelling of them reaches the same loads. Against a current placement the
relabelling that keeps the most replicas in place is an assignment problem, solved exactly (Hungarian
method; Kuhn 1955, in the shortest-path form of Jonker and Volgenant 1987).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.placement.problem import NO_EXPERT, Slots

_ROUNDS = 20


def relabel_ranks(
    slots: Slots, loads: Sequence[int], *, before: Slots | None, nodes: int, bound_to_nodes: bool
) -> Slots:
    """Return the same ranks in an order that moves few experts, then sends little load across nodes."""
    if before is not None:
        if bound_to_nodes:
            return _keep_places_by_node(slots, before, nodes=nodes)
        return _keep_places(slots, before)
    if nodes > 1 and not bound_to_nodes:
        return _spread_replicas(slots, loads, nodes=nodes)
    return slots


def _keep_places(slots: Slots, before: Slots) -> Slots:
    kept = np.array([[_kept(old, new) for new in slots] for old in before])
    chosen = best_assignment(-kept)
    return tuple(_same_slots(before[rank], slots[other]) for rank, other in enumerate(chosen))


def _keep_places_by_node(slots: Slots, before: Slots, *, nodes: int) -> Slots:
    """Assign whole nodes first, then the ranks within each: groups stay together."""
    size = len(slots) // nodes
    old = [before[node * size : (node + 1) * size] for node in range(nodes)]
    new = [slots[node * size : (node + 1) * size] for node in range(nodes)]
    best = [[_keep_places(there, here) for there in new] for here in old]
    kept = np.array(
        [
            [sum(_kept(a, b) for a, b in zip(here, found, strict=True)) for found in row]
            for here, row in zip(old, best, strict=True)
        ]
    )
    return tuple(rank for node, other in enumerate(best_assignment(-kept)) for rank in best[node][other])


def _kept(old: Sequence[int], new: Sequence[int]) -> int:
    return sum((Counter(e for e in new if e != NO_EXPERT) & Counter(old)).values())


def _same_slots(old: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    """Put every expert that stays on the rank into the slot it had."""
    left = Counter(new)
    row: list[int | None] = []
    for expert in old[: len(new)]:
        stays = left[expert] > 0
        left[expert] -= int(stays)
        row.append(expert if stays else None)
    row += [None] * (len(new) - len(row))
    rest = iter(sorted(left.elements()))
    return tuple(next(rest) if expert is None else expert for expert in row)


def best_assignment(costs: NDArray[np.int64]) -> list[int]:
    """Return, for every row of a square matrix, its column in an assignment of least total cost."""
    size = len(costs)
    row_price, column_price = np.zeros(size + 1), np.zeros(size + 1)
    row_of = np.zeros(size + 1, dtype=int)  # row of every column; rows and columns count from 1
    for row in range(1, size + 1):
        row_of[0], column = row, 0
        shortest, came_from = np.full(size + 1, np.inf), np.zeros(size + 1, dtype=int)
        done = np.zeros(size + 1, dtype=bool)
        while row_of[column] != 0:
            done[column] = True
            here = row_of[column]
            reduced = costs[here - 1] - row_price[here] - column_price[1:]
            closer = ~done[1:] & (reduced < shortest[1:])
            shortest[1:][closer] = reduced[closer]
            came_from[1:][closer] = column
            following = 1 + int(np.where(done[1:], np.inf, shortest[1:]).argmin())
            step = shortest[following]
            row_price[row_of[done]] += step
            column_price[done] -= step
            shortest[~done] -= step
            column = following
        while column:
            row_of[column] = row_of[came_from[column]]
            column = int(came_from[column])
    chosen = [0] * size
    for column in range(1, size + 1):
        chosen[row_of[column] - 1] = column - 1
    return chosen


def _spread_replicas(slots: Slots, loads: Sequence[int], *, nodes: int) -> Slots:
    """Swap ranks between nodes while that lets more load find a replica on its own node."""
    order, size = list(range(len(slots))), len(slots) // nodes
    for _ in range(_ROUNDS):
        homes = [Counter(e for rank in order[n * size : (n + 1) * size] for e in slots[rank]) for n in range(nodes)]
        swap = _best_swap(slots, order, homes, loads, size=size)
        if swap is None:
            break
        one, two = swap
        order[one], order[two] = order[two], order[one]
    return tuple(slots[rank] for rank in order)


def _best_swap(
    slots: Slots, order: Sequence[int], homes: Sequence[Counter[int]], loads: Sequence[int], *, size: int
) -> tuple[int, int] | None:
    """Return the swap of two places that gains most, judged by the replicas that leave and arrive."""
    best, gain = None, 0
    for one in range(len(order)):
        for two in range((one // size + 1) * size, len(order)):
            out, back = slots[order[one]], slots[order[two]]
            found = _gain(homes[one // size], out, back, loads) + _gain(homes[two // size], back, out, loads)
            if found > gain:
                best, gain = (one, two), found
    return best


def _gain(home: Counter[int], out: Sequence[int], back: Sequence[int], loads: Sequence[int]) -> int:
    """Return the load of experts that a node starts to hold less that of those it no longer holds."""
    leaving, coming = Counter(e for e in out if e != NO_EXPERT), Counter(e for e in back if e != NO_EXPERT)
    gained = sum(loads[e] for e in coming if home[e] == 0)
    lost = sum(loads[e] for e, count in leaving.items() if home[e] == count and e not in coming)
    return gained - lost
