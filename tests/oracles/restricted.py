"""The same deployment problem with tighter limits."""

from __future__ import annotations

from dataclasses import replace

from shardproof.formulations.deployment.tables import Cap, Choice, Layout, Path, Program


def restrict(
    program: Program, *, gpus: int | None = None, ttft: int | None = None, memory: int | None = None
) -> Program:
    """The same problem with tighter limits: total GPUs, TTFT rows and memory rows (``None``: as it is)."""

    def cap(row: Cap) -> Cap:
        lower = memory is not None and row.memory and memory < row.limit
        return replace(row, limit=memory) if lower and memory is not None else row

    def path(row: Path) -> Path:
        lower = ttft is not None and row.ttft and (row.limit is None or ttft < row.limit)
        return replace(row, limit=ttft) if lower else row

    def choice(item: Choice) -> Choice:
        return replace(item, caps=tuple(map(cap, item.caps)), paths=tuple(map(path, item.paths)))

    def layout(item: Layout) -> Layout:
        axes = tuple(replace(axis, choices=tuple(map(choice, axis.choices))) for axis in item.axes)
        return replace(item, caps=tuple(map(cap, item.caps)), axes=axes)

    budget = program.max_gpus if gpus is None else min(gpus, program.max_gpus)
    return replace(program, layouts=tuple(map(layout, program.layouts)), max_gpus=budget)
