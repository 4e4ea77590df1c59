"""Tables as arrays over the options of a context: costs of stages, and how far a stage may go within a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shardproof.formulations.deployment.tables import CellArrays, Program, Table
from shardproof.instances.errors import InputError
from shardproof.solver.search.least_sums import NEVER, Ints

TOO_LARGE = "the cost tables exceed 2**60 ns or bytes; correct the quantities of the device or the workload"


@dataclass(frozen=True)
class Costs:
    """One table over the options of a view, and the kind of every layer."""

    base: Ints
    entry: Ints
    first: Ints
    last: Ints
    layer: Ints
    kinds: Ints

    @classmethod
    def of(
        cls, program: Program, table: Table, options: Sequence[int], *, floor: bool = False, count: int = 0
    ) -> Costs:
        """Read a table for some options; ``count``: how many more may be asked for soon."""
        cells, kinds = table.rounded_cells(max(count, 1 + max(options)), floor=floor), np.array(program.kinds)
        refuse_large(table, cells, len(kinds))
        places = np.array(options, dtype=np.int64)
        base, entry, first, last, layer = (array[places] for array in cells)
        return cls(base, entry, first, last, layer[:, : 1 + max(program.kinds)], kinds)

    @cached_property
    def prefix(self) -> Ints:
        """``prefix[o, i]`` is the cost of layers ``0 .. i-1``."""
        found = np.zeros((len(self.layer), len(self.kinds) + 1), dtype=np.int64)
        np.cumsum(self.layer[:, self.kinds], axis=1, out=found[:, 1:])
        return found

    def matrix(self, place: int) -> Ints:
        """Costs of all stages (i, j] under one option; meaningless where i >= j."""
        prefix = self.prefix[place]
        ends = np.full(len(prefix), self.base[place] + self.entry[place])
        ends[0] = self.base[place] + self.first[place]
        found: Ints = prefix[None, :] - prefix[:, None] + ends[:, None]
        found[:, -1] += self.last[place]
        return found

    def only(self, places: Sequence[int]) -> Costs:
        """The same table for some of the options."""
        chosen = list(places)
        base, entry, first, last = (array[chosen] for array in (self.base, self.entry, self.first, self.last))
        return Costs(base, entry, first, last, self.layer[chosen], self.kinds)

    @cached_property
    def before(self) -> Ints:
        """``before[o, i]``: cost of layers ``0 .. i-1`` less what a stage from i costs besides its layers."""
        found = self.prefix - (self.base + self.entry)[:, None]
        found[:, 0] = -(self.base + self.first)
        return found

    @cached_property
    def after(self) -> Ints:
        """``after[o, j]``: cost of layers ``0 .. j-1`` and, at the last, of ending there; less ``before``: a stage."""
        found = self.prefix.copy()
        found[:, -1] += self.last
        return found

    @cached_property
    def _ladder(self) -> tuple[Ints, int]:
        """All prefixes one above the other, so that one search serves every option; and the step between."""
        step = int(self.prefix[:, -1].max()) + 2
        if step * (len(self.prefix) + 1) >= NEVER:
            raise InputError(TOO_LARGE)
        rungs = np.arange(len(self.prefix), dtype=np.int64)[:, None] * step
        return (self.prefix + rungs).ravel(), step

    def furthest(self, limit: int) -> Ints:
        """Per option and start, the furthest end of a stage that costs at most ``limit`` (the start: none)."""
        options, size = self.prefix.shape
        ladder, step = self._ladder
        room = self.before + limit
        rungs = np.arange(options, dtype=np.int64)[:, None]
        wanted = np.clip(room, -1, step - 2) + rungs * step
        far = np.searchsorted(ladder, wanted.ravel(), side="right").reshape(options, size) - rungs * size - 1
        np.minimum(far, size - 2, out=far)
        far[room >= (self.prefix[:, -1] + self.last)[:, None]] = size - 1
        found: Ints = np.maximum(far, np.arange(size))
        return found


def refuse_large(table: Table, cells: CellArrays, layers: int) -> None:
    """Refuse a table whose sums over so many layers could leave 64 bits."""
    key = "largest", layers, len(cells.base)
    if key not in table.least:
        largest = int(cells.layer.max(initial=0)) * layers + sum(int(array.max(initial=0)) for array in cells[:4])
        if largest >= NEVER:
            raise InputError(TOO_LARGE)
        table.least[key] = largest


def remaining_minimum(costs: Costs) -> Ints:
    """Least cost of covering layers ``i .. L-1`` whatever the options, for i = 0..L (0 at L)."""
    steps = np.diff(costs.prefix, axis=1).min(axis=0)
    rest = np.zeros(costs.prefix.shape[1], dtype=np.int64)
    rest[:-1] = np.cumsum(steps[::-1])[::-1] + costs.last.min() + (costs.base + costs.entry).min()
    return rest
