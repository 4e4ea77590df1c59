r"""budget: all replicas together have no more GPUs than asked for, nor a replica more than its layout spans.

.. math:: z_c \Rightarrow R_c \sum_{s,o} g_o\, y_{s,o} \le G, \qquad
          z_c \Rightarrow \sum_{s,o} g_o\, y_{s,o} \le N_c

======  ==========================  ====  =======================================
symbol  code                        unit  source
======  ==========================  ====  =======================================
g_o     program.options[o].gpus     1     attn_tp * attn_dp
R_c     case.layout.replicas        1     replicas of the case
N_c     case.layout.max_gpus        1     devices per node, if the layout has it
G       limits.gpus                 1     the instance's budget
======  ==========================  ====  =======================================

Exact: integers.
"""

from __future__ import annotations

from ortools.sat.python import cp_model

from shardproof.formulations.deployment.check import broken_budget
from shardproof.formulations.deployment.variables import Model


def width(model: Model) -> cp_model.LinearExprT:
    """GPUs of one replica."""
    found: cp_model.LinearExprT = sum(
        model.program.options[option].gpus * runs for (_, option), runs in model.variables.runs.items()
    )
    return found


def post(model: Model) -> None:
    """Add the rows."""
    for literal, case in zip(model.variables.case, model.cases, strict=True):
        most = min(model.limits.gpus, model.program.max_gpus) // case.layout.replicas
        if case.layout.max_gpus is not None:
            most = min(most, case.layout.max_gpus)
        model.solver_model.add(width(model) <= most).only_enforce_if(literal)


check = broken_budget
