"""Decision variables of the deployment program, and the integer ranges that bound them.

======================  =======================================  ==========================================
symbol                  code                                     range
======================  =======================================  ==========================================
z_c                     ``case[c]``                              0/1, one case is picked
y_s,o                   ``runs[s, o]``                           0/1, stage s runs option o
u_s                     ``used[s]``                              0/1, the first stages are used
e_s                     ``stop[s]``                              0..L, layers before the end of stage s
f_s                     ``final[s]``                             0/1, stage s is the last one used
n_s,k                   ``count[s, k]``                          0..L, layers of kind k in stage s
t_p,s                   ``cost[p, s]``                           0..limit of path p, stage cost
m_p                     ``slowest[p]``                           0..limit of path p
======================  =======================================  ==========================================

A path is addressed by its place p among the paths of a case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ortools.sat.python import cp_model

from shardproof.formulations.deployment.tables import Case, Path, Program, Table


@dataclass(frozen=True)
class Limits:
    """What the levels above have fixed: GPUs at most, TTFT rows and memory rows at most."""

    gpus: int
    ttft: int | None = None
    memory: int | None = None


@dataclass
class Variables:
    """Every variable of one model, by name."""

    case: list[cp_model.IntVar]
    runs: dict[tuple[int, int], cp_model.IntVar] = field(default_factory=dict)
    used: list[cp_model.IntVar] = field(default_factory=list)
    stop: list[cp_model.IntVar] = field(default_factory=list)
    final: list[cp_model.IntVar] = field(default_factory=list)
    count: dict[tuple[int, int], cp_model.IntVar] = field(default_factory=dict)
    cost: dict[tuple[int, int], cp_model.IntVar] = field(default_factory=dict)
    slowest: list[cp_model.IntVar] = field(default_factory=list)


@dataclass(frozen=True)
class Model:
    """One CP-SAT model under construction: what it is about, and its variables."""

    program: Program
    cases: Sequence[Case]
    limits: Limits
    floor: bool
    solver_model: cp_model.CpModel
    variables: Variables
    options: tuple[int, ...]
    """Options that some case allows and the budget can pay."""

    @property
    def stages(self) -> range:
        """Places of the stages: no chain has more stages than GPUs, or than layers."""
        return range(len(self.variables.used))

    def table(self, table: Table) -> Table:
        """Return the table in this model's rounding."""
        return table.floor if self.floor else table

    def path_limit(self, path: Path) -> int | None:
        """Limit of a path under the levels above."""
        if not path.ttft or self.limits.ttft is None:
            return path.limit
        return self.limits.ttft if path.limit is None else min(path.limit, self.limits.ttft)

    def path_bound(self, path: Path) -> int:
        """Largest value that a path row can take: its limit, or every layer and end on the dearest option."""
        limit = self.path_limit(path)
        table = self.table(path.table)
        layers = sum(max(row[kind] for row in table.layer) for kind in self.program.kinds)
        ends = max(table.base) + max(table.entry) + max(table.first) + max(table.last)
        dearest = (layers + len(self.program.kinds) * ends) * path.microbatches
        return dearest if limit is None else min(limit, dearest)


def stage_expression(model: Model, table: Table, stage: int, option: int) -> cp_model.LinearExprT:
    """Return the cost of a stage under one option, as a linear expression."""
    variables, table = model.variables, model.table(table)
    ends = table.first[option] if stage == 0 else table.entry[option]
    kinds = range(max(model.program.kinds) + 1)
    layers = [table.layer[option][kind] * variables.count[stage, kind] for kind in kinds]
    fixed = table.base[option] + ends
    found: cp_model.LinearExprT = fixed + table.last[option] * variables.final[stage] + sum(layers)
    return found


def create(program: Program, cases: Sequence[Case], limits: Limits, *, floor: bool) -> Model:
    """Create the variables of a model over some cases of a program."""
    solver_model = cp_model.CpModel()
    layers = len(program.kinds)
    widest = max((limits.gpus // case.layout.replicas for case in cases), default=0)
    allowed = sorted({option for case in cases for option in case.allowed(program)})
    options = tuple(option for option in allowed if program.options[option].gpus <= widest)
    variables = Variables(case=[solver_model.new_bool_var(f"case[{index}]") for index in range(len(cases))])
    model = Model(program, cases, limits, floor, solver_model, variables, options)
    for stage in range(min(layers, widest)):
        _add_stage(model, stage, layers)
    for slot in range(max((len(case.paths) for case in cases), default=0)):
        most = max(model.path_bound(case.paths[slot]) for case in cases if slot < len(case.paths))
        variables.slowest.append(solver_model.new_int_var(0, most, f"slowest[{slot}]"))
        for stage in range(len(variables.used)):
            variables.cost[slot, stage] = solver_model.new_int_var(0, most, f"cost[{slot},{stage}]")
    return model


def _add_stage(model: Model, stage: int, layers: int) -> None:
    made, variables = model.solver_model, model.variables
    variables.used.append(made.new_bool_var(f"used[{stage}]"))
    variables.final.append(made.new_bool_var(f"final[{stage}]"))
    variables.stop.append(made.new_int_var(0, layers, f"stop[{stage}]"))
    for kind in range(max(model.program.kinds) + 1):
        most = model.program.kinds.count(kind)
        variables.count[stage, kind] = made.new_int_var(0, most, f"count[{stage},{kind}]")
    for option in model.options:
        variables.runs[stage, option] = made.new_bool_var(f"runs[{stage},{option}]")
