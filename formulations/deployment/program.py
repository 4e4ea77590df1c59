"""The deployment program on CP-SAT: variables, every constraint group, and the way to and from chains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from ortools.sat.python import cp_model

from shardproof.formulations.deployment.chains import Chain, StageChoice
from shardproof.formulations.deployment.constraints import GROUPS
from shardproof.formulations.deployment.tables import Case, Layout, Program
from shardproof.formulations.deployment.variables import Limits, Model, create
from shardproof.instances.errors import InternalError

ROW_LIMIT = 1 << 53
"""Sum of |coefficient x bound| that no row may reach: beyond it CP-SAT's linear relaxation loses exactness."""


def build(program: Program, cases: Sequence[Case], limits: Limits, *, floor: bool = False) -> Model:
    """Build the model over some cases.

    Raises
    ------
    InternalError
        If a row's activity could reach 2**53.
    """
    model = create(program, cases, limits, floor=floor)
    for group in GROUPS:
        group.post(model)
    _check_rows(model)
    return model


def _check_rows(model: Model) -> None:
    proto = model.solver_model.proto
    bounds = [max(abs(edge) for edge in variable.domain) for variable in proto.variables]
    for row in proto.constraints:
        if row.has_linear():
            activity = sum(
                abs(coefficient) * bounds[index if index >= 0 else -index - 1]
                for index, coefficient in zip(row.linear.vars, row.linear.coeffs, strict=True)
            )
            if activity >= ROW_LIMIT:
                raise InternalError(f"a row of the program can reach {activity}, beyond 2**53")


def cases_of(layout: Layout) -> list[Case]:
    """Every case of a layout."""
    return [Case(layout, picked) for picked in product(*(range(len(axis.choices)) for axis in layout.axes))]


def add_hint(model: Model, chain: Chain) -> None:
    """Hint a known chain; its case must be one of the model's."""
    made, variables = model.solver_model, model.variables
    layout = model.program.layouts[chain.layout]
    for literal, case in zip(variables.case, model.cases, strict=True):
        made.add_hint(literal, case.layout is layout and case.choices == chain.choices)
    for stage in model.stages:
        item = chain.stages[stage] if stage < len(chain.stages) else None
        made.add_hint(variables.used[stage], item is not None)
        made.add_hint(variables.final[stage], stage == len(chain.stages) - 1)
        made.add_hint(variables.stop[stage], len(model.program.kinds) if item is None else item.stop)
        for option in model.options:
            made.add_hint(variables.runs[stage, option], item is not None and item.option == option)


def read_chain(model: Model, solver: cp_model.CpSolver) -> Chain:
    """Read the chain that a solver found."""
    variables = model.variables
    picked = next(i for i, literal in enumerate(variables.case) if solver.boolean_value(literal))
    case = model.cases[picked]
    stages: list[StageChoice] = []
    start = 0
    for stage in model.stages:
        if solver.boolean_value(variables.used[stage]):
            stop = solver.value(variables.stop[stage])
            option = next(o for o in model.options if solver.boolean_value(variables.runs[stage, o]))
            stages.append(StageChoice(start, stop, option))
            start = stop
    layout = next(i for i, layout in enumerate(model.program.layouts) if layout is case.layout)
    return Chain(layout, case.choices, tuple(stages))
