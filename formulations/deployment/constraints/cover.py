r"""cover: the used stages cut the layers into contiguous ranges, in order, each with one option.

.. math::

    \sum_c z_c = 1, \quad u_s \ge u_{s+1}, \quad \sum_o y_{s,o} = u_s, \quad
    e_{s-1} + u_s \le e_s \le e_{s-1} + L u_s, \quad
    u_s \wedge \neg u_{s+1} \Leftrightarrow f_s \Rightarrow e_s = L, \quad
    n_{s,k} = K_k(e_s) - K_k(e_{s-1})

======  ==========================  ====  =============================================
symbol  code                        unit  source
======  ==========================  ====  =============================================
L       len(program.kinds)          1     instances.model, number of layers
K_k(i)  prefix counts of kind k     1     layers of kind k among the first i
======  ==========================  ====  =============================================

Exact: L bounds every e_s, and is the big-M of an unused stage.
"""

from __future__ import annotations

from ortools.sat.python import cp_model

from shardproof.formulations.deployment.check import broken_cover
from shardproof.formulations.deployment.variables import Model


def post(model: Model) -> None:
    """Add the rows."""
    made, variables, program = model.solver_model, model.variables, model.program
    layers = len(program.kinds)
    made.add_exactly_one(variables.case)
    made.add(variables.used[0] == 1)
    for index, case in enumerate(model.cases):
        for option in set(model.options) - set(case.allowed(program)):
            for stage in model.stages:
                made.add_implication(variables.case[index], ~variables.runs[stage, option])
    for stage in model.stages:
        used, stop = variables.used[stage], variables.stop[stage]
        before = variables.stop[stage - 1] if stage else 0
        made.add(sum(variables.runs[stage, option] for option in model.options) == used)
        made.add(stop >= before + used)
        made.add(stop <= before + layers * used)
        if stage + 1 < len(variables.used):
            made.add(variables.used[stage + 1] <= used)
            made.add(variables.final[stage] == used - variables.used[stage + 1])
        else:
            made.add(variables.final[stage] == used)
        made.add(stop == layers).only_enforce_if(variables.final[stage])
    _post_counts(model)
    if max(program.kinds) == 0:
        _post_order(model)


def _post_order(model: Model) -> None:
    """Order the stages between the first and the last: by option, longer ones first.

    With one layer kind they cost the same in any order, so an optimum remains.
    """
    made, variables, layers = model.solver_model, model.variables, len(model.program.kinds)

    def key(stage: int) -> cp_model.LinearExprT:
        places = sum(place * variables.runs[stage, option] for place, option in enumerate(model.options))
        return (layers + 1) * places - (variables.stop[stage] - variables.stop[stage - 1])

    for stage in range(1, len(variables.used) - 1):
        both = [variables.used[stage + 1], ~variables.final[stage + 1]]
        made.add(key(stage) <= key(stage + 1)).only_enforce_if(both)


def _post_counts(model: Model) -> None:
    """Link layer ranges to counts per kind; with one kind the count is the length."""
    made, variables, kinds = model.solver_model, model.variables, model.program.kinds
    for kind in range(max(kinds) + 1):
        before: object = 0
        for stage in model.stages:
            if max(kinds) == 0:
                reached: object = variables.stop[stage]
            else:
                prefix = [sum(1 for found in kinds[:end] if found == kind) for end in range(len(kinds) + 1)]
                reached = made.new_int_var(0, prefix[-1], f"reached[{stage},{kind}]")
                made.add_element(variables.stop[stage], prefix, reached)
            made.add(variables.count[stage, kind] == reached - before)  # type: ignore[operator]
            before = reached


check = broken_cover
