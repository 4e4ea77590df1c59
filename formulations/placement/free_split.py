r"""The free split: every expert's load may be divided over its replicas in any way.

For a given placement the least largest rank load is

.. math:: T = \max_{A} \frac{\sum_{e \in A} w_e}{|N(A)|}

over all sets A of experts, N(A) being the ranks that hold them (max-flow min-cut; Hall). Newton's
iteration finds it exactly: a flow with rank capacity T either carries all load or leaves a cut whose
experts give a larger T.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from shardproof.formulations.placement.problem import NO_EXPERT, LayerProblem, Slots


@dataclass(frozen=True)
class FreeSplit:
    """The least largest load, and ``shares[rank]`` of (expert, load that its replicas there carry)."""

    load: Fraction
    shares: tuple[tuple[tuple[int, Fraction], ...], ...]


def largest_free_load(problem: LayerProblem, slots: Slots) -> Fraction:
    """Return the largest rank load when every profile's load is split as well as possible."""
    return max(split_freely(row, slots).load for row in problem.loads)


def split_freely(loads: Sequence[int], slots: Slots) -> FreeSplit:
    """Split loads over the replicas of a placement so that the largest rank load is least."""
    homes = [[rank for rank, held in enumerate(slots) if expert in held] for expert in range(len(loads))]
    target = Fraction(sum(loads), len(slots))
    while True:
        flows, stranded = _flow(loads, homes, target, ranks=len(slots))
        if not stranded:
            return FreeSplit(target, _shares(flows, slots, scale=target.denominator))
        reached = {rank for expert in stranded for rank in homes[expert]}
        target = Fraction(sum(loads[expert] for expert in stranded), len(reached))


def _shares(
    flows: Sequence[dict[int, int]], slots: Slots, *, scale: int
) -> tuple[tuple[tuple[int, Fraction], ...], ...]:
    return tuple(
        tuple(
            (expert, Fraction(flows[expert].get(rank, 0), scale)) for expert in sorted(set(held)) if expert != NO_EXPERT
        )
        for rank, held in enumerate(slots)
    )


def _flow(
    loads: Sequence[int], homes: Sequence[Sequence[int]], target: Fraction, *, ranks: int
) -> tuple[list[dict[int, int]], set[int]]:
    """Send every expert's load to its ranks by shortest augmenting paths, all scaled to integers.

    Returns the flow per expert and rank, and the experts that a minimum cut strands (none if all load
    arrives).
    """
    scale = target.denominator
    room = [target.numerator] * ranks
    flows: list[dict[int, int]] = [{} for _ in loads]
    on_rank: list[set[int]] = [set() for _ in range(ranks)]
    for expert, load in enumerate(loads):
        left = load * scale
        while left:
            path, visited = _augmenting_path(expert, homes, on_rank, room)
            if path is None:
                return flows, visited
            left -= _send(path, left, flows, on_rank, room)
    return flows, set()


def _augmenting_path(
    start: int, homes: Sequence[Sequence[int]], on_rank: Sequence[set[int]], room: Sequence[int]
) -> tuple[list[int] | None, set[int]]:
    """Search a path expert, rank, expert, ..., rank with room left; else return the experts reached."""
    came_from: dict[int, tuple[int, int]] = {}  # rank: (expert that enters it, rank that expert left)
    queue, seen = deque([(start, -1)]), {start}
    while queue:
        expert, left_rank = queue.popleft()
        for rank in homes[expert]:
            if rank in came_from:
                continue
            came_from[rank] = (expert, left_rank)
            if room[rank]:
                return _trace(rank, came_from), seen
            for other in on_rank[rank] - seen:
                seen.add(other)
                queue.append((other, rank))
    return None, seen


def _trace(rank: int, came_from: dict[int, tuple[int, int]]) -> list[int]:
    """Return the path as expert, rank, expert, rank, ... from the start."""
    path: list[int] = []
    while rank != -1:
        expert, left_rank = came_from[rank]
        path = [expert, rank, *path]
        rank = left_rank
    return path


def _send(
    path: Sequence[int], amount: int, flows: list[dict[int, int]], on_rank: list[set[int]], room: list[int]
) -> int:
    """Push as much as fits along a path: each later expert gives up its flow on the rank before it."""
    experts, ranks = path[::2], path[1::2]
    amount = min(amount, room[ranks[-1]])
    for expert, rank in zip(experts[1:], ranks, strict=False):
        amount = min(amount, flows[expert][rank])
    for expert, rank in zip(experts[1:], ranks, strict=False):
        flows[expert][rank] -= amount
        if not flows[expert][rank]:
            on_rank[rank].discard(expert)
    for expert, rank in zip(experts, ranks, strict=True):
        flows[expert][rank] = flows[expert].get(rank, 0) + amount
        on_rank[rank].add(expert)
    room[ranks[-1]] -= amount
    return amount
