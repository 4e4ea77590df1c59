r"""Cases that fall by bounds which a reader can check by hand, before CP-SAT sees them.

For a cap with limit ``top`` on every stage, a replica of b GPUs does at most ``b * top`` unit-GPUs of work (*volume*).
On a path of m passes the slowest of stages of b GPUs costs at least the mean over GPUs, so that

.. math:: b \sum_s c_s + (m - 1) \sum_s g_s c_s \le b\, (\sum_s c_s + (m - 1) \max_s c_s) \le b\, limit,

and each layer adds to the left side at least its least over the options of :math:`(b + (m - 1)\, g_o)` times its cost
(*priced sum*). Plain integers, and none of the exact search's code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from shardproof.formulations.deployment.chains import rounded
from shardproof.formulations.deployment.tables import Cap, Case, Layout, Path, Program, Table
from shardproof.solver.search.query import Objective, Query

Price = tuple[int, int]
"""What a unit of a stage's cost weighs: a fixed part, and one for each of its GPUs."""


@dataclass
class Cuts:
    """Bounds of one program in one direction of rounding; each table is read once for a set of options."""

    program: Program
    floor: bool
    _known: dict[tuple[int, tuple[int, ...], Price], tuple[Table, int]] = field(default_factory=dict)

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
