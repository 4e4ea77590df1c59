"""A second, different solver on what CP-SAT alone refuted: HiGHS, then SCIP, as OR-Tools ships them.

Both work in floating point: their agreement is reported as agreement, never as proof.
"""

from __future__ import annotations

from ortools.linear_solver import pywraplp

from shardproof.formulations.deployment.peers.mixed_integer import MixedInteger, mixed_integer_of
from shardproof.formulations.deployment.variables import Model

SOLVERS = ("HIGHS", "SCIP")


def agreeing_solver(model: Model, *, time_limit_s: float) -> str | None:
    """Name the first solver that finds the model infeasible too (``None``: none does within the time)."""
    program = mixed_integer_of(model.solver_model)
    for name in SOLVERS:
        solver = pywraplp.Solver.CreateSolver(name)
        if solver is not None and _is_infeasible(solver, program, time_limit_s):
            return name
    return None


def _is_infeasible(solver: pywraplp.Solver, program: MixedInteger, time_limit_s: float) -> bool:
    variables = [
        solver.IntVar(low, high, f"x{index}")
        for index, (low, high) in enumerate(zip(program.lower, program.upper, strict=True))
    ]
    for terms, high in program.rows:
        row = solver.Constraint(-solver.infinity(), high)
        for index, factor in terms.items():
            row.SetCoefficient(variables[index], factor)
    solver.SetTimeLimit(int(time_limit_s * 1000))
    return bool(solver.Solve() == pywraplp.Solver.INFEASIBLE)
