"""The lexicographic objective: fewest GPUs, then lowest TTFT, then lowest peak memory; one level a model."""

from __future__ import annotations

from typing import Literal

from ortools.sat.python import cp_model

from shardproof.formulations.deployment.constraints.budget import width
from shardproof.formulations.deployment.constraints.path import row_value
from shardproof.formulations.deployment.variables import Model, stage_expression

Level = Literal["gpus", "ttft", "memory"]


def minimise(model: Model, level: Level, *, at_least: int = 0) -> cp_model.IntVar:
    """Minimise one level; ``at_least`` is a proven bound. Returns the variable that holds its value."""
    if level == "gpus":
        value = model.solver_model.new_int_var(at_least, model.limits.gpus, "gpus")
        for literal, case in zip(model.variables.case, model.cases, strict=True):
            model.solver_model.add(value == case.layout.replicas * width(model)).only_enforce_if(literal)
    elif level == "ttft":
        value = _ttft(model, at_least)
    else:
        value = _memory(model, at_least)
    model.solver_model.minimize(value)
    return value


def _ttft(model: Model, at_least: int) -> cp_model.IntVar:
    bounds = (model.path_bound(path) for case in model.cases for path in case.paths if path.ttft)
    most = max(bounds, default=0)
    value = model.solver_model.new_int_var(min(at_least, most), most, "ttft")
    for literal, case in zip(model.variables.case, model.cases, strict=True):
        for slot, path in enumerate(case.paths):
            if path.ttft:
                model.solver_model.add(value >= row_value(model, slot, path)).only_enforce_if(literal)
    return value


def _memory(model: Model, at_least: int) -> cp_model.IntVar:
    caps = [cap for case in model.cases for cap in case.caps if cap.memory]
    most = max((cap.limit for cap in caps), default=0)
    value = model.solver_model.new_int_var(min(at_least, most), most, "peak_memory")
    for literal, case in zip(model.variables.case, model.cases, strict=True):
        for cap in case.caps:
            if cap.memory:
                for (stage, option), runs in model.variables.runs.items():
                    cost = stage_expression(model, cap.table, stage, option)
                    model.solver_model.add(value >= cost).only_enforce_if(literal, runs)
    return value
