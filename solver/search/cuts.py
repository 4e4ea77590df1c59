r"""Cases that fall by bounds which a reader can check by hand, before CP-SAT sees them.

For a cap with limit ``top`` on every stage, a replica of b GPUs does at most ``b * top`` unit-GPUs of work (*volume*).
On a path of m passes the slowest of stages of b GPUs costs at least the mean over GPUs, so that

.. math:: b \sum_s c_s + (m - 1) \sum_s g_s c_s \le b\, (\sum_s c_s + (m - 1) \max_s c_s) \le b\, limit,

and each layer adds to the left side at least its least over the options of :math:`(b + (m - 1)\, g_o)` times its cost
(*priced sum*). And stages that keep their caps, and leave the rest of each path its least, reach only so far
(*reach*): the furthest layer that chains of g GPUs cover follows from that of fewer. Plain integers, and
none of the exact search's code.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, product

from shardproof.formulations.deployment.chains import rounded
from shardproof.formulations.deployment.tables import Cap, Case, Layout, Path, Program, Table
from shardproof.solver.search.query import Objective, Query

Price = tuple[int, int]
"""What a unit of a stage's cost weighs: a fixed part, and one for each of its GPUs."""


@dataclass(frozen=True)
class Sums:
    """What one option costs: a stage that begins, or enters later, or stops at the end; and the layers before each."""

    begins: int
    enters: int
    stops: int
    sums: list[int]


@dataclass
class Cuts:
    """Bounds of one program in one direction of rounding; each table is read once for a set of options."""

    program: Program
    floor: bool
    _known: dict[tuple[int, tuple[int, ...], Price], tuple[Table, int]] = field(default_factory=dict)

    _read: dict[tuple[int, int], tuple[Table, Sums]] = field(default_factory=dict)

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
            if self.allows(case, query, budget):
                yield case

    def allows(self, case: Case, query: Query, budget: int) -> bool:
        """Whether no bound refutes a whole case."""
        options = tuple(o for o in case.allowed(self.program) if self.program.options[o].gpus <= budget)
        stands = self._stands(case.caps, case.paths, options, query, budget)
        return stands and self._covers(case, options, query, budget)

    def least(self, case: Case, objective: Objective, budget: int) -> int:
        """Return a value of an objective that no chain of a case stays below."""
        options = tuple(o for o in case.allowed(self.program) if self.program.options[o].gpus <= budget)
        if not options:
            return 0
        if objective == "memory":
            found = [self._priced(cap.table, options, (0, 1)) for cap in case.caps if cap.memory]
        else:
            rows = [path for path in case.paths if path.ttft]
            found = [self._priced(path.table, options, (budget, path.microbatches - 1)) for path in rows]
        return -(-max(found, default=0) // budget)

    def _stands(
        self, caps: Sequence[Cap], paths: Sequence[Path], options: tuple[int, ...], query: Query, budget: int
    ) -> bool:
        if not options:
            return False
        if any(self._priced(cap.table, options, (0, 1)) > budget * query.cap_limit(cap) for cap in caps):
            return False
        for path in paths:
            limit = query.path_limit(path)
            if (
                limit is not None
                and self._priced(path.table, options, (budget, path.microbatches - 1)) > budget * limit
            ):
                return False
        return True

    def _covers(self, case: Case, options: tuple[int, ...], query: Query, budget: int) -> bool:
        """Whether stages of so many GPUs that keep the limits of single stages reach the last layer."""
        limits = [(cap.table, query.cap_limit(cap)) for cap in case.caps]
        for path in case.paths:
            limit = query.path_limit(path)
            if limit is not None:
                least, further = self._priced(path.table, options, (1, 0)), path.microbatches - 1
                slowest = limit // path.microbatches
                limits.append((path.table, min(slowest, (limit - least) // further) if further else slowest))
        reach, widths = [0], [(option, self.program.options[option].gpus) for option in options]
        for gpus in range(1, budget + 1):
            starts = {
                (option, start) for option, width in widths if width <= gpus for start in (reach[gpus - width], 0)
            }
            reach.append(max([reach[-1], *(self._furthest(limits, option, start) for option, start in starts)]))
        return reach[-1] == len(self.program.kinds)

    def _furthest(self, limits: Sequence[tuple[Table, int]], option: int, start: int) -> int:
        """Return the furthest end of a stage within its limits (the start: it holds no layer)."""
        layers, furthest = len(self.program.kinds), len(self.program.kinds)
        for table, limit in limits:
            ends = self._sums(table, option)
            room = limit - (ends.begins if start == 0 else ends.enters) + ends.sums[start]
            if furthest == layers and ends.sums[layers] + ends.stops > room:
                furthest = layers - 1
            furthest = min(furthest, bisect_right(ends.sums, room, start) - 1)
        return max(start, furthest)

    def _sums(self, table: Table, option: int) -> Sums:
        """Read one option of a table."""
        key = id(table), option
        if key not in self._read:
            cells = rounded(table, self.floor)
            row, base = cells.layer[option], cells.base[option]
            sums = [0, *accumulate(row[kind] for kind in self.program.kinds)]
            self._read[key] = (
                table,
                Sums(base + cells.first[option], base + cells.entry[option], cells.last[option], sums),
            )
        return self._read[key][1]

    def _priced(self, table: Table, options: tuple[int, ...], price: Price) -> int:
        """Least that the work of all layers, each by the option that is cheapest at a price, adds up to."""
        key = id(table), options, price
        if key not in self._known:
            cells = rounded(table, self.floor)
            prices = [(o, price[0] + price[1] * self.program.options[o].gpus) for o in options]
            counts = Counter(self.program.kinds).items()
            total = sum(count * min(factor * cells.layer[o][kind] for o, factor in prices) for kind, count in counts)
            total += sum(min(factor * row[o] for o, factor in prices) for row in (cells.base, cells.first, cells.last))
            self._known[key] = table, total
        return self._known[key][1]
