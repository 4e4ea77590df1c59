"""Cases that fall by bounds which a reader can check by hand, before CP-SAT sees them.

For a row with limit ``top`` on every stage, replicas of b GPUs do at most ``b * top`` unit-GPUs of work (*volume*);
a path's least sum over all options, and its further passes, may not exceed its limit (*sum*). Plain integers, and none
of the exact search's code.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from shardproof.formulations.deployment.chains import rounded
from shardproof.formulations.deployment.tables import Cap, Case, Choice, Layout, Path, Program, Table
from shardproof.solver.search.query import Query


def surviving_cases(program: Program, layout: Layout, query: Query, budget: int, *, floor: bool) -> Iterator[Case]:
    """Yield the cases of a layout that no bound refutes, axis by axis."""
    every = tuple(index for index, option in enumerate(program.options) if option.gpus <= budget)
    if not _stands(program, layout.caps, (), every, query, budget, floor=floor):
        return
    kept: list[list[int]] = []
    for axis in layout.axes:
        places = range(len(axis.choices))
        kept.append([at for at in places if _choice_stands(program, layout, axis.choices[at], every, query, budget, floor)])
    for picked in product(*kept):
        case = Case(layout, picked)
        options = tuple(option for option in case.allowed(program) if option in set(every))
        if options and _stands(program, case.caps, case.paths, options, query, budget, floor=floor):
            yield case


def _choice_stands(
    program: Program,
    layout: Layout,
    choice: Choice,
    every: tuple[int, ...],
    query: Query,
    budget: int,
    floor: bool,  # noqa: FBT001
) -> bool:
    options = every if choice.options is None else tuple(option for option in every if option in choice.options)
    caps = (*layout.caps, *choice.caps)
    return bool(options) and _stands(program, caps, choice.paths, options, query, budget, floor=floor)


def _stands(
    program: Program,
    caps: tuple[Cap, ...] | object,
    paths: tuple[Path, ...],
    options: tuple[int, ...],
    query: Query,
    budget: int,
    *,
    floor: bool,
) -> bool:
    if not options:
        return False
    for cap in caps:  # type: ignore[attr-defined]
        if _volume(program, rounded(cap.table, floor), options) > budget * query.cap_limit(cap):
            return False
    for path in paths:
        limit = query.path_limit(path)
        if limit is None:
            continue
        table = rounded(path.table, floor)
        top = limit // path.microbatches
        if _volume(program, table, options) > budget * top or _least_sum(program, table, options) > limit:
            return False
    return True


def _counts(program: Program) -> dict[int, int]:
    return {kind: program.kinds.count(kind) for kind in set(program.kinds)}


def _volume(program: Program, table: Table, options: tuple[int, ...]) -> int:
    gpus = [option.gpus for option in program.options]
    layers = sum(count * min(gpus[o] * table.layer[o][kind] for o in options) for kind, count in _counts(program).items())
    return layers + sum(min(gpus[o] * cells[o] for o in options) for cells in (table.base, table.first, table.last))


def _least_sum(program: Program, table: Table, options: tuple[int, ...]) -> int:
    layers = sum(count * min(table.layer[o][kind] for o in options) for kind, count in _counts(program).items())
    return layers + sum(min(cells[o] for o in options) for cells in (table.base, table.first, table.last))
