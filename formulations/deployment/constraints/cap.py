r"""cap: every stage keeps within a limit: memory per device, and the slowest decode stage.

.. math:: z_c \wedge y_{s,o} \Rightarrow base_o + [s = 0]\, first_o + [s > 0]\, entry_o + last_o\, f_s
          + \sum_k layer_{o,k}\, n_{s,k} \le limit_c

=========  ==========================  =============  ==========================================
symbol     code                        unit           source
=========  ==========================  =============  ==========================================
layer_o,k  cap.table.layer             bytes or ns    formulations.costs, per layer kind
limit_c    cap.limit                   bytes or ns    device memory; TPOT limit / microbatches
=========  ==========================  =============  ==========================================

Exact: bytes are integers; times are rounded up (or, in a floor model, down) per cell.
"""

from __future__ import annotations

from shardproof.formulations.deployment.check import broken_cap
from shardproof.formulations.deployment.tables import Cap
from shardproof.formulations.deployment.variables import Model, stage_expression


def limit_of(model: Model, row: Cap) -> int:
    """Limit of a cap under the levels above."""
    memory = model.limits.memory
    return min(row.limit, memory) if row.memory and memory is not None else row.limit


def post(model: Model) -> None:
    """Add the rows."""
    for literal, case in zip(model.variables.case, model.cases, strict=True):
        for row in case.caps:
            for (stage, option), runs in model.variables.runs.items():
                cost = stage_expression(model, row.table, stage, option)
                model.solver_model.add(cost <= limit_of(model, row)).only_enforce_if(literal, runs)


check = broken_cap
