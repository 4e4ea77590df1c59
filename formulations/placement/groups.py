"""Groups of experts on nodes: every partition, and the layer problem that each node then has.

Nodes are alike, so group 0 is put on the first node, the first group left on the second, and so on:
each way of splitting the groups is listed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations

from shardproof.formulations.placement.problem import LayerProblem

Partition = tuple[tuple[int, ...], ...]
"""``partition[node]``: the groups that live there."""


def group_partitions(groups: int, nodes: int) -> Iterator[Partition]:
    """Yield every split of ``groups`` groups into ``nodes`` equal unordered parts."""
    yield from _split(tuple(range(groups)), groups // nodes)


def _split(left: tuple[int, ...], size: int) -> Iterator[Partition]:
    if not left:
        yield ()
        return
    for others in combinations(left[1:], size - 1):
        part = (left[0], *others)
        rest = tuple(group for group in left if group not in part)
        for parts in _split(rest, size):
            yield (part, *parts)


def node_experts(part: Sequence[int], *, experts: int, groups: int) -> list[int]:
    """Return the experts of a node's groups."""
    size = experts // groups
    return [group * size + offset for group in part for offset in range(size)]


def node_problem(problem: LayerProblem, experts: Sequence[int], *, nodes: int) -> LayerProblem:
    """Return the problem of one node that holds ``experts``, renumbered from 0."""
    return LayerProblem(
        loads=tuple(tuple(row[expert] for expert in experts) for row in problem.loads),
        ranks=problem.ranks // nodes,
        filled=problem.filled // nodes,
        width=problem.width,
        distinct=problem.distinct,
        split=problem.split,
    )


def partition_average(problem: LayerProblem, partition: Partition, *, groups: int) -> Fraction:
    """Return the average rank load of the partition's heaviest node."""
    size = problem.experts // groups
    weights = [[sum(row[g * size : (g + 1) * size]) for g in range(groups)] for row in problem.loads]
    heaviest = max(sum(row[group] for group in part) for part in partition for row in weights)
    return Fraction(heaviest, problem.ranks // len(partition))
