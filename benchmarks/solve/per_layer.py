r"""The formulation that first comes to mind: one Boolean per layer, stage and option, for one case.

=======  ===============================  =============================================
symbol   code                             meaning
=======  ===============================  =============================================
y_l,s,o  ``on[layer, stage, option]``     0/1, the layer is on that stage under that option
z_s,o    ``runs[stage, option]``          0/1, the stage runs that option
=======  ===============================  =============================================

Every layer is on one stage, a layer's stage is that of the layer before or the next one, and costs are sums over
layers of Booleans. Minimises GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ortools.sat.python import cp_model

from shardproof.formulations.deployment.tables import Case, Program, Table


@dataclass(frozen=True)
class PerLayer:
    """The model under construction and its Booleans."""

    program: Program
    options: tuple[int, ...]
    stages: int
    made: cp_model.CpModel
    on: dict[tuple[int, int, int], cp_model.IntVar]
    runs: dict[tuple[int, int], cp_model.IntVar]


def build_per_layer(program: Program, case: Case, *, max_gpus: int) -> cp_model.CpModel:
    """Build the model of one case within a GPU budget."""
    made, layers = cp_model.CpModel(), len(program.kinds)
    widest = max_gpus // case.layout.replicas
    if case.layout.max_gpus is not None:
        widest = min(widest, case.layout.max_gpus)
    options = tuple(option for option in case.allowed(program) if program.options[option].gpus <= widest)
    stages = min(layers, widest)
    runs = {(s, o): made.new_bool_var(f"runs[{s},{o}]") for s in range(stages) for o in options}
    on = {(i, s, o): made.new_bool_var(f"on[{i},{s},{o}]") for i in range(layers) for s, o in runs}
    model = PerLayer(program, options, stages, made, on, runs)
    _cover(model)
    for cap in case.caps:
        for stage in range(stages):
            made.add(_stage_cost(model, cap.table, stage) <= cap.limit)
    for path in case.paths:
        if path.limit is not None:
            slowest = made.new_int_var(0, path.limit, f"slowest[{path.name}]")
            costs = [_stage_cost(model, path.table, stage) for stage in range(stages)]
            for cost in costs:
                made.add(cost <= slowest)
            factors = [1] * stages + [path.microbatches - 1]
            made.add(cp_model.LinearExpr.weighted_sum([*costs, slowest], factors) <= path.limit)
    width = sum(program.options[option].gpus * literal for (_, option), literal in runs.items())
    made.add(width <= widest)
    made.minimize(case.layout.replicas * width)
    return made


def _cover(model: PerLayer) -> None:
    """Every layer on one stage, stages in order and none empty, one option a stage."""
    made, layers = model.made, len(model.program.kinds)
    for stage in range(model.stages):
        made.add_at_most_one(model.runs[stage, option] for option in model.options)
    for (stage, option), literal in model.runs.items():
        made.add(sum(model.on[layer, stage, option] for layer in range(layers)) >= literal)
    for (_, stage, option), literal in model.on.items():
        made.add_implication(literal, model.runs[stage, option])
    places = [_place(model, layer) for layer in range(layers)]
    made.add(places[0] == 0)
    for before, place in pairwise(places):
        made.add_linear_constraint(place - before, 0, 1)


def _place(model: PerLayer, layer: int) -> cp_model.LinearExpr:
    """Return the stage of a layer, which is on exactly one."""
    literals = [model.on[layer, stage, option] for stage, option in model.runs]
    model.made.add_exactly_one(literals)
    return cp_model.LinearExpr.weighted_sum(literals, [stage for stage, _ in model.runs])


def _stage_cost(model: PerLayer, table: Table, stage: int) -> cp_model.LinearExprT:
    kinds, last = model.program.kinds, len(model.program.kinds) - 1
    literals: list[cp_model.IntVar] = []
    costs: list[int] = []
    for option in model.options:
        ends = table.entry[option] if stage else table.first[option]
        literals += [model.runs[stage, option], model.on[last, stage, option]]
        costs += [table.base[option] + ends, table.last[option]]
        literals += [model.on[layer, stage, option] for layer in range(len(kinds))]
        costs += [table.layer[option][kind] for kind in kinds]
    return cp_model.LinearExpr.weighted_sum(literals, costs)
