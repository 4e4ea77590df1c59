r"""The pools program as a mixed-integer program in floats, on SCIP: quick proposals, which prove nothing.

Rows are those of `shardproof.formulations.pools.program`, each divided by its largest coefficient; a row that holds
where there are some replicas has its right side raised by a literal for each, :math:`\sum_k a_k n_k \ge b + (b' - b)
(\sum_j u_j - (J - 1))`, and points are excluded by literals. What comes back is rounded and judged in exact integers;
that there is nothing better needs another proof (a tree of cases, or CP-SAT).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ortools.linear_solver import pywraplp

from shardproof.formulations.pools.problem import PoolsProblem, Row
from shardproof.formulations.pools.program import Effort, Found, Rows
from shardproof.formulations.pools.relaxation import size_of

ENDS = (pywraplp.Solver.OPTIMAL, pywraplp.Solver.FEASIBLE)


def proposed(problem: PoolsProblem, rows: Rows, effort: Effort, *, cost: int | None = None) -> Found | None:
    """Return what `shardproof.formulations.pools.program.least` is asked for, in floats; ``None``: nothing is known."""
    model = _Model(problem)
    for row in (*rows.always, *((problem.objective_row(cost),) if cost is not None else ())):
        model.add(row)
    for row, worth in rows.without:
        for place, lost in enumerate(worth):
            if lost and problem.tops[place]:
                model.add(Row(row.terms, row.least + lost), [model.there(place, 1)], least=row.least)
    for row, there in rows.where:
        if all(problem.tops[place] >= count for place, count in there):
            model.add(row, [model.there(place, count) for place, count in there], least=0)
    for excluded in rows.excluded:
        model.exclude(excluded.below, excluded.above)
    found = model.solved(problem, effort, fewest=cost is not None)
    if found is None or found.values is None or holds(problem, rows, found.values, cost):
        return found
    return None


def holds(problem: PoolsProblem, rows: Rows, values: Sequence[int], cost: int | None) -> bool:
    """Whether values keep every row, in exact integers."""

    def kept(row: Row, more: int = 0) -> bool:
        return sum(factor * values[place] for place, factor in row.terms.items()) >= row.least + more

    lost = ((row, most) for row, worth in rows.without for most in [max(_used(worth, values), default=0)])
    where = (row for row, there in rows.where if all(values[place] >= count for place, count in there))
    ways = ((one.below, one.above) for one in rows.excluded)
    return (
        all(0 <= value <= top for value, top in zip(values, problem.tops, strict=True))
        and (cost is None or problem.cost_of(values) <= cost)
        and all(kept(row) for row in (*rows.always, *where))
        and all(kept(row, most) for row, most in lost)
        and all(any(values[k] > v for k, v in below) or any(values[k] < v for k, v in above) for below, above in ways)
    )


def _used(worth: Sequence[int], values: Sequence[int]) -> list[int]:
    return [lost for lost, count in zip(worth, values, strict=False) if count]


class _Model:
    """The program being built; variables: replicas and nodes, then literals."""

    def __init__(self, problem: PoolsProblem) -> None:
        self.solver, self.tops = pywraplp.Solver.CreateSolver("SCIP"), problem.tops
        self.variables = [self.solver.IntVar(0, top, "") for top in problem.tops]
        self._there: dict[tuple[int, int], Any] = {}

    def add(self, row: Row, where: Sequence[Any] = (), *, least: int = 0) -> None:
        """Keep a row, where all literals hold; elsewhere no more than ``least`` of it is asked."""
        scale = size_of(row)
        lifted = (row.least - least) / scale
        constraint = self.solver.Constraint(row.least / scale - lifted * len(where), self.solver.infinity())
        for place, factor in row.terms.items():
            constraint.SetCoefficient(self.variables[place], factor / scale)
        for literal in where:
            constraint.SetCoefficient(literal, -lifted)

    def there(self, place: int, count: int) -> Any:
        """Return a literal that holds where there are as many replicas."""
        if (place, count) not in self._there:
            literal = self._there[place, count] = self.solver.BoolVar("")
            self.solver.Add(self.variables[place] - self.tops[place] * literal <= count - 1)
        return self._there[place, count]

    def exclude(self, below: Sequence[tuple[int, int]], above: Sequence[tuple[int, int]]) -> None:
        literals = []
        for place, value in below:
            if value < self.tops[place]:
                literals.append(self.solver.BoolVar(""))
                self.solver.Add(self.variables[place] >= (value + 1) * literals[-1])
        for place, value in above:
            if value > 0:
                literals.append(self.solver.BoolVar(""))
                room = self.tops[place] - value + 1
                self.solver.Add(self.variables[place] <= self.tops[place] - room * literals[-1])
        self.solver.Add(self.solver.Sum(literals) >= 1)

    def solved(self, problem: PoolsProblem, effort: Effort, *, fewest: bool) -> Found | None:
        objective, unit = self.solver.Objective(), problem.step
        if fewest:
            gpus = {place: kind.gpus for place, kind in enumerate(problem.kinds)}
            most = 1 + sum(width * self.tops[place] for place, width in gpus.items())
            for place, width in gpus.items():
                objective.SetCoefficient(self.variables[place], width / most)
                objective.SetCoefficient(self.there(place, 1), 1)
        for place, cost in problem.costs.items() if not fewest else ():
            objective.SetCoefficient(self.variables[place], cost // unit)
        objective.SetMinimization()
        if effort.seconds is not None:
            self.solver.SetTimeLimit(max(50, int(1000 * effort.seconds)))
        exact = pywraplp.MPSolverParameters()
        exact.SetDoubleParam(pywraplp.MPSolverParameters.RELATIVE_MIP_GAP, 0.0)
        status = self.solver.Solve(exact)
        if status == pywraplp.Solver.INFEASIBLE:
            return Found(None, 0, proven=True)
        if status not in ENDS:
            return None
        values = tuple(round(variable.solution_value()) for variable in self.variables)
        return Found(values, 0, proven=status == pywraplp.Solver.OPTIMAL)
