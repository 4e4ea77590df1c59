"""Solutions of the program: chains of stages, and what a chain costs in each row.

A chain's cost in a row follows the definition at the top of `shardproof.formulations.deployment.tables`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from shardproof.formulations.deployment.tables import Case, Path, Program, Table


@dataclass(frozen=True)
class StageChoice:
    """A stage of a solution: layers ``start .. stop-1`` under ``option`` (an index)."""

    start: int
    stop: int
    option: int


@dataclass(frozen=True)
class Chain:
    """A solution of the program: a layout, a choice per axis, and the stages of one replica."""

    layout: int
    choices: tuple[int, ...]
    stages: tuple[StageChoice, ...]

    def gpus(self, program: Program) -> int:
        """GPUs of all replicas."""
        width = sum(program.options[stage.option].gpus for stage in self.stages)
        return program.layouts[self.layout].replicas * width


def stage_cost(program: Program, table: Table, stage: StageChoice) -> int:
    """Cost of one stage in one resource, by the definition at the top of `tables`."""
    layers = sum(table.layer[stage.option][kind] for kind in program.kinds[stage.start : stage.stop])
    ends = table.first[stage.option] if stage.start == 0 else table.entry[stage.option]
    if stage.stop == len(program.kinds):
        ends += table.last[stage.option]
    return table.base[stage.option] + ends + layers


def path_cost(program: Program, path: Path, stages: tuple[StageChoice, ...]) -> int:
    """Left side of a path row: the sum of the stages and the further passes of the slowest."""
    costs = [stage_cost(program, path.table, stage) for stage in stages]
    return sum(costs) + (path.microbatches - 1) * max(costs)


def worst_ttft(program: Program, chain: Chain, *, floor: bool) -> int | None:
    """Largest TTFT row of a chain, ns (``None``: the program has no such row)."""
    case = Case(program.layouts[chain.layout], chain.choices)
    rows = (replace(path, table=rounded(path.table, floor)) for path in case.paths if path.ttft)
    return max((path_cost(program, row, chain.stages) for row in rows), default=None)


def peak_memory(program: Program, chain: Chain) -> int | None:
    """Largest memory of a stage of a chain, bytes per device (``None``: the program has no such row)."""
    case = Case(program.layouts[chain.layout], chain.choices)
    tables = [cap.table for cap in case.caps if cap.memory]
    return max((stage_cost(program, table, stage) for table in tables for stage in chain.stages), default=None)


def rounded(table: Table, floor: bool) -> Table:
    """Return a table, or its floor."""
    return table.floor if floor else table
