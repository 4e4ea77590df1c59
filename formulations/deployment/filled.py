"""Tables of memory and of times over all options, each filled as one array when it is first read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import LinkName
from shardproof.formulations.deployment.balance import base_kind
from shardproof.formulations.deployment.cells import Cells, MemoryParts, Variant
from shardproof.formulations.deployment.grids import Grid
from shardproof.formulations.deployment.lazy import Column, Fill, Ints, Lazy, Rows, column
from shardproof.formulations.deployment.remembered import EndTimes, Tables
from shardproof.formulations.deployment.tables import Table
from shardproof.instances.clock import check_time
from shardproof.instances.option import Option
from shardproof.instances.workload import Scenario


def _column(items: Lazy[Any], name: str) -> Column:
    """Return one field of all items."""

    def fill(start: int, stop: int) -> Ints:
        return np.array([getattr(items[place], name) for place in range(start, stop)], dtype=np.int64)

    return Column(len(items), fill)


def memory_table(
    cells: Cells,
    variant: Variant,
    scenario: Scenario,
    step: Step | None,
    options: Sequence[Option],
    requests: int,
    tables: Tables,
) -> Table:
    """Bytes of stages with so many resident requests; with a step, its microbatch's workspace and buffers too.

    ``tables``: those of the same options, to read from and to add to. What a step needs does not depend on the
    requests, nor what layers keep on the step.
    """
    instance, workload = cells.instance, scenario.workload
    place = "ends", step, instance.runtime_reserve, instance.memory_limit if variant.single_stage else None
    kept = "layers", requests, workload.resident_tokens, workload.sequence_length_range
    if place not in tables:
        tables[place] = _ends(cells, variant, scenario, step, options)
    if kept not in tables:
        none = (0,) * len(options)
        rows = Rows(len(options), _layers(cells, scenario, options, requests))
        tables[kept] = Table(none, none, none, none, layer=rows)
    ends, last = tables[place], tables[place].last
    if cells.draft is not None:
        last = column(len(options), lambda at: ends.last[at] + cells.draft_kv(options[at], scenario, requests))
    return replace(ends, last=last, layer=tables[kept].layer)


def _ends(cells: Cells, variant: Variant, scenario: Scenario, step: Step | None, options: Sequence[Option]) -> Table:
    """Bytes of stages outside their layers."""
    count, blocked = len(options), cells.instance.memory_limit + 1
    parts = Lazy[MemoryParts](count, lambda place: cells.memory_parts(variant, scenario, step, options[place]))
    return Table(
        base=_column(parts, "base"),
        entry=(blocked,) * count if variant.single_stage else _column(parts, "entry"),
        first=_column(parts, "first"),
        last=_column(parts, "last"),
        layer=(),
    )


def _layers(cells: Cells, scenario: Scenario, options: Sequence[Option], requests: int) -> Fill:
    kinds = dict.fromkeys(map(base_kind, cells.kind_names))

    def fill(start: int, stop: int) -> Ints:
        rows = list[list[int]]()
        for option in options[start:stop]:
            check_time()
            found = {
                kind: cells.layer_weights(kind, option) + cells.layer_kv(kind, option, scenario, requests)
                for kind in kinds
            }
            rows.append([found[base_kind(name)] for name in cells.kind_names])
        return np.array(rows, dtype=np.int64)

    return fill


def time_table(
    cells: Cells, step: Step, link: LinkName, options: Sequence[Option], slack: int, beside: Table | None
) -> Table:
    """Times of stages for one microbatch, ns; ``beside``: the table of the same step over another link."""
    count, grid = len(options), cells.grid(tuple(options), step)
    if grid is not None:
        return _of_grid(grid, grid.place[step.requests], link, count, slack)
    ends = Lazy[EndTimes](count, lambda place: cells.end_times(options[place], step, link))

    def layers(start: int, stop: int) -> Ints:
        return cells.layer_times(options[start:stop], step)

    return Table(
        base=(0,) * count,
        entry=_column(ends, "entry"),
        first=_column(ends, "first"),
        last=_column(ends, "last"),
        layer=Rows(count, layers) if beside is None else beside.layer,
        slack=slack,
    )


def _of_grid(grid: Grid, size: int, link: LinkName, count: int, slack: int) -> Table:
    """Times of one size of a step."""
    ends = grid.ends(link)

    def end(which: int) -> Column:
        return Column(count, lambda start, stop: ends.upto(stop)[start:stop, size, which])

    layer = Rows(count, lambda start, stop: grid.layers.upto(stop)[start:stop, size])
    return Table((0,) * count, end(0), end(1), end(2), layer=layer, slack=slack)
