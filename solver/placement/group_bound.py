"""A lower bound over every way of putting groups of experts on nodes."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from shardproof.formulations.placement.bounds import simple_bound
from shardproof.formulations.placement.groups import group_partitions, node_experts, node_problem, partition_average
from shardproof.formulations.placement.problem import LayerProblem


def group_bound(
    problem: LayerProblem,
    *,
    groups: int,
    nodes: int,
    searched: Mapping[tuple[int, ...], Fraction] | None = None,
) -> Fraction:
    """Return the least, over all partitions, of the largest bound of a node.

    ``searched`` holds sharper bounds of some parts (the groups of one node).

    Partitions come in order of their heaviest node's average, itself a bound: once that reaches the least
    found, no later partition can lower it.
    """
    ranked = sorted(
        (partition_average(problem, partition, groups=groups), partition)
        for partition in group_partitions(groups, nodes)
    )
    known = dict(searched or {})
    least: Fraction | None = None
    for average, partition in ranked:
        if least is not None and average >= least:
            break
        for part in partition:
            if part not in known:
                experts = node_experts(part, experts=problem.experts, groups=groups)
                known[part] = simple_bound(node_problem(problem, experts, nodes=nodes)).value
        reached = max(known[part] for part in partition)
        least = reached if least is None else min(least, reached)
    return least if least is not None else Fraction(0)
