"""Who carries more carries less: the premise of fleets, checked cell by cell on an instance's own tables.

A replica with fewer requests passes no more microbatches, each of no more requests. So it asks for no more in any row
if no cell of a table falls with the requests of a microbatch, nor with those that are resident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import LinkName
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import decode_step
from shardproof.formulations.deployment.prefill import distinct_ceilings
from shardproof.formulations.deployment.tables import Cap, Layout, Table
from shardproof.instances.workload import Burst, Scenario

LINKS: tuple[LinkName, ...] = ("scale_up", "scale_out")
CELLS_AT_MOST = 20_000
"""Cells of one table over all sizes of microbatches; where there are more, not every size is looked at."""


@dataclass(frozen=True)
class Growth:
    """What was compared: sizes of microbatches (``whole``: each from 1 on), and the row that falls, if one does."""

    sizes: int
    whole: bool
    falls: str | None = None


def growth_of(deployment: Deployment) -> Growth:
    """Compare the times of microbatches of every size that a replica of a burst may run."""
    compared, whole = 0, True
    for place, scenario in enumerate(deployment.instance.scenarios):
        if type(scenario.workload) is not Burst:
            continue
        sizes = _sizes(deployment, deployment.demand[place])
        compared, whole = compared + len(sizes), whole and len(sizes) == deployment.demand[place]
        for name, step in _steps(deployment, scenario):
            for link in LINKS:
                tables = [deployment.time_table(step(size), link) for size in sizes]
                for size, small, large in zip(sizes, tables, tables[1:], strict=False):
                    if _falls(small, large):
                        return Growth(compared, whole, f"{name}[{scenario.name}] falls beyond {size} requests")
    return Growth(compared, whole)


def _sizes(deployment: Deployment, requests: int) -> Sequence[int]:
    """Sizes of microbatches: all of them, or those of the whole load where that is too many."""
    cells = len(deployment.options) * len(deployment.kind_names)
    return range(1, requests + 1) if cells * requests <= CELLS_AT_MOST else distinct_ceilings(requests)


def _steps(deployment: Deployment, scenario: Scenario) -> Iterator[tuple[str, Callable[[int], Step]]]:
    tokens = scenario.workload.input_tokens
    for chunks in deployment.chunks_of(scenario):
        each = divide_up(tokens, chunks)
        context = divide_up((chunks - 1) * each, 2)
        yield "ttft", partial(_prefill, each, context)
    if scenario.limits.tpot is not None:
        yield "tpot", partial(decode_step, scenario, speculation=deployment.instance.speculative)


def _prefill(tokens: int, context: int, requests: int) -> Step:
    return Step("prefill", requests, tokens, context, loop=False)


def falling_row(layout: Layout, larger: Layout) -> str | None:
    """Name a row that asks for less at a larger load, in what every case has or in the same choice of an axis."""
    found = _falling_cap(layout.caps, larger.caps)
    if found is not None:
        return found
    for axis, other in zip(layout.axes, larger.axes, strict=False):
        choices = {choice.value: choice for choice in other.choices}
        for choice in axis.choices:
            more = choices.get(choice.value)
            if more is None:
                continue
            found = _falling_cap(choice.caps, more.caps)
            pairs = zip(choice.paths, more.paths, strict=False)
            falls = (p.name for p, q in pairs if p.microbatches > q.microbatches or _falls(p.table, q.table))
            if found is not None or (found := next(falls, None)) is not None:
                return found
    return None


def _falling_cap(caps: Sequence[Cap], larger: Sequence[Cap]) -> str | None:
    tables = {cap.name: cap.table for cap in larger}
    return next((cap.name for cap in caps if cap.name in tables and _falls(cap.table, tables[cap.name])), None)


def _falls(small: Table, large: Table) -> bool:
    """Whether any cell of the second table is below the first's."""
    if small is large:
        return False
    ends = ((small.base, large.base), (small.entry, large.entry), (small.first, large.first), (small.last, large.last))
    rows = (*ends, *zip(small.layer, large.layer, strict=True))
    return any(less > more for row, other in rows for less, more in zip(row, other, strict=True))
