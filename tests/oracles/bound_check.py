"""Recompute what a bound's own argument proves, from the layer's problem alone."""

from __future__ import annotations

from fractions import Fraction

from shardproof.formulations.placement.bounds import LowerBound, company_bound, crowd_bound, replica_bound
from shardproof.formulations.placement.prices import prices_refute
from shardproof.formulations.placement.problem import LayerProblem


def bound_holds(problem: LayerProblem, bound: LowerBound) -> bool:
    """Say whether the argument of a bound proves it; a solver's word alone proves nothing here."""
    loads = problem.loads[bound.profile]
    even = problem.split == "even"
    full = even and problem.filled == problem.ranks * problem.width
    if bound.argument == "average":
        return bound.value <= Fraction(sum(loads), problem.ranks)
    if bound.argument == "replicas":
        return bound.value <= replica_bound(problem, loads)
    if bound.argument == "company":
        return full and bound.value <= company_bound(problem, loads)
    if bound.argument == "crowd":
        return full and problem.filled == problem.experts and bound.value <= crowd_bound(problem, loads)
    return even and bound.prices is not None and prices_refute(problem, loads, bound.value, bound.prices)
