"""Cases that fall by bounds which a reader can check by hand, before CP-SAT sees them.

For a row with limit ``top`` on every stage, a replica of b GPUs does at most ``b * top`` unit-GPUs of work (*volume*);
a path's least sum over all options may not exceed its limit (*sum*). Plain integers, and none of the exact search's
code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from shardproof.formulations.deployment.chains import rounded
from shardproof.formulations.deployment.tables import Cap, Case, Layout, Path, Program, Table
from shardproof.solver.search.query import Query

Bounds = tuple[int, int]
"""Least unit-GPUs, and least sum, of the work of all layers in one table."""


@dataclass
class Cuts:
    """Bounds of one program in one direction of rounding; each table is read once for a set of options."""

    program: Program
    floor: bool
    _known: dict[tuple[int, tuple[int, ...]], tuple[Table, Bounds]] = field(default_factory=dict)

    def cases(self, layout: Layout, query: Query, budget: int) -> Iterator[Case]:
        """Yield the cases of a layout that no bound refutes; choices fall alone first."""
        every = tuple(index for index, option in enumerate(self.program.options) if option.gpus <= budget)
        if not self._stands(layout.caps, (), every, query, budget):
            return
        kept = []
        for axis in layout.axes:
            standing = []
            for at, choice in enumerate(axis.choices):
                options = every if choice.options is None else tuple(o for o in every if o in choice.options)
                if self._stands((*layout.caps, *choice.caps), choice.paths, options, query, budget):
                    standing.append(at)
            kept.append(standing)
        for picked in product(*kept):
            case = Case(layout, picked)
            options = tuple(option for option in case.allowed(self.program) if option in every)
            if self._stands(case.caps, case.paths, options, query, budget):
                yield case

    def _stands(
        self, caps: Sequence[Cap], paths: Sequence[Path], options: tuple[int, ...], query: Query, budget: int
    ) -> bool:
        if not options:
            return False
        if any(self._bounds(cap.table, options)[0] > budget * query.cap_limit(cap) for cap in caps):
            return False
        for path in paths:
            limit = query.path_limit(path)
            if limit is not None:
                volume, least = self._bounds(path.table, options)
                if volume > budget * (limit // path.microbatches) or least > limit:
                    return False
        return True

    def _bounds(self, table: Table, options: tuple[int, ...]) -> Bounds:
        key = id(table), options
        if key not in self._known:
            cells, gpus = rounded(table, self.floor), [option.gpus for option in self.program.options]
            counts = Counter(self.program.kinds).items()
            ends = (cells.base, cells.first, cells.last)
            volume = sum(count * min(gpus[o] * cells.layer[o][kind] for o in options) for kind, count in counts)
            volume += sum(min(gpus[o] * row[o] for o in options) for row in ends)
            least = sum(count * min(cells.layer[o][kind] for o in options) for kind, count in counts)
            self._known[key] = table, (volume, least + sum(min(row[o] for o in options) for row in ends))
        return self._known[key][1]
