"""A finished chain judged against every row of the program, in plain integers and without ortools."""

from __future__ import annotations

from shardproof.formulations.deployment.chains import Chain, path_cost, stage_cost
from shardproof.formulations.deployment.tables import Case, Program


def broken_row(program: Program, chain: Chain) -> str | None:
    """Name the first row that a chain breaks, as ``group[index]``; ``None`` if it keeps them all."""
    for judge in (broken_cover, broken_budget, broken_cap, broken_path):
        found = judge(program, chain)
        if found is not None:
            return found
    return None


def broken_cover(program: Program, chain: Chain) -> str | None:
    """Name the first fault of the stages' ranges or options."""
    layout = program.layouts[chain.layout]
    expected = 0
    for index, stage in enumerate(chain.stages):
        if stage.start != expected or stage.stop <= stage.start:
            return f"cover[stage={index}]"
        for axis, place in zip(layout.axes, chain.choices, strict=True):
            allowed = axis.choices[place].options
            if allowed is not None and stage.option not in allowed:
                return f"cover[stage={index}, axis={axis.name}]"
        expected = stage.stop
    return None if expected == len(program.kinds) else "cover[layers]"


def broken_budget(program: Program, chain: Chain) -> str | None:
    """Name the GPU budget that a chain exceeds."""
    layout = program.layouts[chain.layout]
    if chain.gpus(program) > program.max_gpus:
        return "budget[gpus]"
    if layout.max_gpus is not None and chain.gpus(program) > layout.max_gpus * layout.replicas:
        return "budget[replica]"
    return None


def broken_cap(program: Program, chain: Chain) -> str | None:
    """Name the first cap that a stage exceeds."""
    for row in Case(program.layouts[chain.layout], chain.choices).caps:
        for index, stage in enumerate(chain.stages):
            if stage_cost(program, row.table, stage) > row.limit:
                return f"{row.name}[stage={index}]"
    return None


def broken_path(program: Program, chain: Chain) -> str | None:
    """Name the first path over its limit."""
    for row in Case(program.layouts[chain.layout], chain.choices).paths:
        if row.limit is not None and path_cost(program, row, chain.stages) > row.limit:
            return f"{row.name}[plan]"
    return None
