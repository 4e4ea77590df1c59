r"""path: microbatches pass the stages in order; the last one's time is within its limit (TTFT, TPOT).

.. math::

    z_c \wedge y_{s,o} \Rightarrow t_{p,s} \ge base_o + [s = 0]\, first_o + [s > 0]\, entry_o + last_o\, f_s
    + \sum_k layer_{o,k}\, n_{s,k}, \qquad m_p \ge t_{p,s}, \qquad
    z_c \Rightarrow \sum_s t_{p,s} + (M_{p,c} - 1)\, m_p \le limit_{p,c}

=========  ==========================  ====  ==============================================
symbol     code                        unit  source
=========  ==========================  ====  ==============================================
layer_o,k  path.table.layer            ns    formulations.costs, per layer kind
M_p,c      path.microbatches           1     ceil(requests / requests per microbatch)
limit_p,c  path.limit                  ns    the scenario's limit, margin taken off
=========  ==========================  ====  ==============================================

Exact in integers: times are rounded up (or, in a floor model, down) per cell. An unused stage costs 0.
"""

from __future__ import annotations

from ortools.sat.python import cp_model

from shardproof.formulations.deployment.check import broken_path
from shardproof.formulations.deployment.tables import Path
from shardproof.formulations.deployment.variables import Model, stage_expression


def row_value(model: Model, slot: int, path: Path) -> cp_model.LinearExprT:
    """Left side of a path row."""
    costs = [model.variables.cost[slot, stage] for stage in model.stages]
    found: cp_model.LinearExprT = sum(costs) + (path.microbatches - 1) * model.variables.slowest[slot]
    return found


def post(model: Model) -> None:
    """Add the rows."""
    made, variables = model.solver_model, model.variables
    for slot, slowest in enumerate(variables.slowest):
        for stage in model.stages:
            made.add(slowest >= variables.cost[slot, stage])
    for literal, case in zip(variables.case, model.cases, strict=True):
        for slot, path in enumerate(case.paths):
            for (stage, option), runs in variables.runs.items():
                cost = stage_expression(model, path.table, stage, option)
                made.add(variables.cost[slot, stage] >= cost).only_enforce_if(literal, runs)
            limit = model.path_limit(path)
            if limit is not None:
                made.add(row_value(model, slot, path) <= limit).only_enforce_if(literal)


check = broken_path
