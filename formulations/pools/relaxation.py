r"""The linear relaxation of the pools program on GLOP, and what its duals refute in exact integers.

Every row may be missed at a price, so that the relaxation always has a solution; a fleet is impossible where that
price must be paid. Duals are floats and only a guess: multiplied and rounded to integers, they are added up exactly
(`refuted`), as a reader of the certificate does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ortools.linear_solver import pywraplp

from shardproof.formulations.pools.problem import PoolsProblem, Row
from shardproof.instances.errors import InternalError

PENALTY = 1e4
"""Price of missing a row by its largest coefficient, in units of the largest cost."""

SCALES = (1, 10, 1_000, 10**6, 10**9, 10**12)
"""Multiples at which duals are rounded to integers; the first that refutes is taken."""

Box = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Relaxed:
    """Cost of the relaxation (in the largest cost), its point, and a dual for each row as (numerator, divisor)."""

    value: float
    missed: float
    point: tuple[float, ...]
    duals: tuple[float, ...]


def relaxed(problem: PoolsProblem, rows: Sequence[Row], box: Box, *, priced: bool = True) -> Relaxed:
    """Solve the relaxation; without ``priced`` only what rows are missed by counts."""
    solver = pywraplp.Solver("relaxation", pywraplp.Solver.GLOP_LINEAR_PROGRAMMING)
    variables = [solver.NumVar(low, high, "") for low, high in box]
    largest = max(problem.costs.values(), default=1)
    objective = solver.Objective()
    constraints, misses = [], []
    for row in rows:
        scale = size_of(row)
        constraint = solver.Constraint(row.least / scale, solver.infinity())
        for place, factor in row.terms.items():
            constraint.SetCoefficient(variables[place], factor / scale)
        miss = solver.NumVar(0, solver.infinity(), "")
        constraint.SetCoefficient(miss, 1)
        objective.SetCoefficient(miss, PENALTY if priced else 1)
        constraints.append(constraint)
        misses.append(miss)
    for place, cost in problem.costs.items() if priced else ():
        objective.SetCoefficient(variables[place], cost / largest)
    objective.SetMinimization()
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        raise InternalError("GLOP does not solve the relaxation of the pools program")
    missed = sum(miss.solution_value() for miss in misses)
    point = tuple(variable.solution_value() for variable in variables)
    duals = tuple(max(0.0, constraint.dual_value()) for constraint in constraints)
    return Relaxed(objective.Value(), missed, point, duals)


def size_of(row: Row) -> int:
    """Largest coefficient of a row."""
    return max((abs(factor) for factor in row.terms.values()), default=1) or 1


def multipliers(
    problem: PoolsProblem, rows: Sequence[Row], duals: Sequence[float], box: Box, top: int | None
) -> tuple[int, tuple[int, ...]] | None:
    """Return integers (of the objective row, of each row) whose sum refutes the box; ``None``: these duals do not.

    ``top``: what a fleet costs at most (``None``: the objective says nothing).
    """
    largest = max(problem.costs.values(), default=1)
    sizes = [size_of(row) for row in rows]
    common = max(largest if top is not None else 1, *sizes)
    objective = [] if top is None else [problem.objective_row(top)]
    for scale in SCALES:
        unit = common * scale
        found = tuple(int(dual * scale * common) // size for dual, size in zip(duals, sizes, strict=True))
        own = unit // largest if top is not None else 0
        if refuted([*objective, *rows], [*([own] if objective else []), *found], box):
            return own, found
    return None


def refuted(rows: Sequence[Row], factors: Sequence[int], box: Box) -> bool:
    """Whether rows times factors add up to a row that nothing in the box keeps."""
    terms: dict[int, int] = {}
    least = 0
    for row, factor in zip(rows, factors, strict=True):
        if factor:
            least += factor * row.least
            for place, term in row.terms.items():
                terms[place] = terms.get(place, 0) + factor * term
    return sum(term * box[place][1 if term > 0 else 0] for place, term in terms.items()) < least
