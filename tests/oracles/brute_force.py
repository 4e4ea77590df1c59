"""The optimum of a small program by trying every chain of every case.

Written from the definition at the top of ``shardproof.formulations.deployment.tables``, sharing none of its code.
The only things skipped are chains that already break a row or already have more GPUs than the best one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from shardproof.formulations.deployment.chains import Chain, StageChoice
from shardproof.formulations.deployment.tables import Cap, Layout, Path, Program, Table


@dataclass(frozen=True)
class Best:
    """The lexicographic optimum: GPUs, then TTFT in ns, then peak memory in bytes (None: no such row)."""

    gpus: int
    ttft: int | None
    memory: int | None

    @property
    def key(self) -> tuple[int, int, int]:
        """Comparable form; absent counts as 0 (it is absent, or not, for all plans that tie)."""
        return (self.gpus, self.ttft or 0, self.memory or 0)


@dataclass(frozen=True)
class _Rows:
    caps: tuple[Cap, ...]
    paths: tuple[Path, ...]
    options: tuple[int, ...]


def brute_force(program: Program, *, floor: bool = False) -> Best | None:
    """Best chain of the program, None if there is none; ``floor``: with every cell lowered by its slack."""
    best: Best | None = None
    for layout in program.layouts:
        for rows in _cases(program, layout):
            best = _search(program, layout, rows, best, floor=floor)
    return best


def _cases(program: Program, layout: Layout) -> Iterator[_Rows]:
    for picked in product(*(axis.choices for axis in layout.axes)):
        options = [
            option
            for option in range(len(program.options))
            if all(choice.options is None or option in choice.options for choice in picked)
        ]
        caps = [*layout.caps]
        paths: list[Path] = []
        for choice in picked:
            caps.extend(choice.caps)
            paths.extend(choice.paths)
        yield _Rows(tuple(caps), tuple(paths), tuple(options))


def _costs(program: Program, table: Table, start: int, option: int, *, floor: bool) -> list[int]:
    """Costs of the stages from ``start`` under ``option`` with 1, 2, ... layers."""
    lower = table.slack if floor else 0
    cells = [table.layer[option][kind] for kind in program.kinds[start:]]
    ends = max(0, table.base[option] - lower)
    ends += max(0, (table.first[option] if start == 0 else table.entry[option]) - lower)
    costs = []
    for cell in cells:
        ends += max(0, cell - lower)
        costs.append(ends)
    costs[-1] += max(0, table.last[option] - lower)
    return costs


def _search(program: Program, layout: Layout, rows: _Rows, best: Best | None, *, floor: bool) -> Best | None:
    layers = len(program.kinds)
    budget = program.max_gpus // layout.replicas
    if layout.max_gpus is not None:
        budget = min(budget, layout.max_gpus)
    tables = [cap.table for cap in rows.caps] + [path.table for path in rows.paths]
    cost = {
        (start, option): [_costs(program, table, start, option, floor=floor) for table in tables]
        for start in range(layers)
        for option in rows.options
    }
    split = len(rows.caps)
    todo: list[tuple[int, int, tuple[int, ...], tuple[int, ...], int]] = [
        (0, 0, (0,) * len(rows.paths), (0,) * len(rows.paths), 0)
    ]
    while todo:
        start, gpus, sums, slowest, peak = todo.pop()
        values = [
            total + (path.microbatches - 1) * top for path, total, top in zip(rows.paths, sums, slowest, strict=True)
        ]
        if any(path.limit is not None and value > path.limit for path, value in zip(rows.paths, values, strict=True)):
            continue
        if start == layers:
            marked = [value for path, value in zip(rows.paths, values, strict=True) if path.ttft]
            memory = peak if any(cap.memory for cap in rows.caps) else None
            found = Best(gpus * layout.replicas, max(marked, default=None), memory)
            if best is None or found.key < best.key:
                best = found
            continue
        for option in rows.options:
            width = gpus + program.options[option].attn_tp * program.options[option].attn_dp
            if width > budget or (best is not None and width * layout.replicas > best.gpus):
                continue
            for length in range(1, layers - start + 1):
                stage = [costs[length - 1] for costs in cost[start, option]]
                if any(value > cap.limit for cap, value in zip(rows.caps, stage, strict=False)):
                    continue
                memories = [value for cap, value in zip(rows.caps, stage, strict=False) if cap.memory]
                times = stage[split:]
                todo.append(
                    (
                        start + length,
                        width,
                        tuple(total + time for total, time in zip(sums, times, strict=True)),
                        tuple(max(top, time) for top, time in zip(slowest, times, strict=True)),
                        max([peak, *memories]),
                    )
                )
    return best


def evaluate(program: Program, chain: Chain, *, floor: bool = False) -> Best | None:
    """GPUs, TTFT and peak memory of a chain; None when it is malformed, over its budget or breaks a row."""
    layout = program.layouts[chain.layout]
    picked = [axis.choices[index] for axis, index in zip(layout.axes, chain.choices, strict=True)]
    gpus, at = 0, 0
    for stage in chain.stages:
        if stage.start != at or stage.stop <= at:
            return None
        if any(choice.options is not None and stage.option not in choice.options for choice in picked):
            return None
        at = stage.stop
        gpus += program.options[stage.option].attn_tp * program.options[stage.option].attn_dp
    if at != len(program.kinds) or (layout.max_gpus is not None and gpus > layout.max_gpus):
        return None
    ttfts, memories = [], []
    for row in (*layout.caps, *(cap for choice in picked for cap in choice.caps)):
        value = max(_stage_costs(program, row.table, chain, floor=floor))
        if value > row.limit:
            return None
        memories += [value] * row.memory
    for path in (path for choice in picked for path in choice.paths):
        costs = _stage_costs(program, path.table, chain, floor=floor)
        value = sum(costs) + (path.microbatches - 1) * max(costs)
        if path.limit is not None and value > path.limit:
            return None
        ttfts += [value] * path.ttft
    total = gpus * layout.replicas
    found = Best(total, max(ttfts, default=None), max(memories, default=None))
    return found if total <= program.max_gpus else None


def _stage_costs(program: Program, table: Table, chain: Chain, *, floor: bool) -> list[int]:
    return [
        _costs(program, table, stage.start, stage.option, floor=floor)[stage.stop - stage.start - 1]
        for stage in chain.stages
    ]


def every_chain(program: Program) -> Iterator[Chain]:
    """Every chain of the program within its GPUs, feasible or not: only for very small programs."""
    for place, layout in enumerate(program.layouts):
        budget = program.max_gpus // layout.replicas
        for choices in product(*(range(len(axis.choices)) for axis in layout.axes)):
            for stages in _every_tail(program, 0, budget):
                yield Chain(place, choices, stages)


def _every_tail(program: Program, start: int, budget: int) -> Iterator[tuple[StageChoice, ...]]:
    if start == len(program.kinds):
        yield ()
        return
    for option, shape in enumerate(program.options):
        if shape.gpus <= budget:
            for stop in range(start + 1, len(program.kinds) + 1):
                for tail in _every_tail(program, stop, budget - shape.gpus):
                    yield (StageChoice(start, stop, option), *tail)
