r"""Exact search over chains of stages in one context, by dynamic programming over layers and GPUs.

A `View` holds the rows and options of a context as arrays. In it

* `View.reach` finds the furthest layer that g GPUs cover when only stage limits count;
* `View.cheapest` finds, for every g and layer i, the least sum of one path row over chains of g GPUs;
* `shardproof.solver.search.labels` keeps, with several path rows, the non-dominated vectors of their sums.

All arithmetic is in 64-bit integers; `View` refuses tables whose sums could leave them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.deployment.chains import StageChoice
from shardproof.formulations.deployment.tables import Cap, Path, Program, Table
from shardproof.instances.errors import InternalError
from shardproof.solver.search.costs import Costs, refuse_large
from shardproof.solver.search.least_sums import Cheapest, Ints, bands, cheapest_alone, least_sums


@dataclass(frozen=True)
class Bounded:
    """A path row in a context: its limit (``None``: none) and the interval ``(low, high]`` of its slowest stage."""

    path: Path
    limit: int | None
    low: int
    high: int | None


Places = NDArray[np.int16] | NDArray[np.int64]
"""Layers; as 16 bits where that is enough."""
FURTHEST_KEPT = 1 << 24
"""Entries of furthest ends (options x layers of a row) that one program keeps: 32 MB."""


TABLES_READ = 8
"""Tables whose costs of stages one program keeps at a time."""


class Narrow(NamedTuple):
    """Options within a budget, their GPUs, and what bounds over them are found by."""

    options: list[int]
    gpus: list[int]
    key: str


class Furthest:
    """A program's options and kinds as arrays, and the furthest ends of stages of all options, row by row."""

    def __init__(self, program: Program, *, floor: bool) -> None:
        """Take the program; ``floor`` reads the tables rounded down."""
        self.program, self.floor = program, floor
        self.gpus = [option.gpus for option in program.options]
        self.every = tuple(range(len(program.options)))
        self.widths: Ints = np.array(self.gpus, dtype=np.int64)
        self.kind_counts: Ints = np.bincount(program.kinds, minlength=1 + max(program.kinds))
        self.counts_key = tuple(self.kind_counts.tolist())
        self.counts: Ints = np.append(self.kind_counts, (1, 1, 1))
        self._within: dict[int, int] = {}
        self._narrow: dict[tuple[int, tuple[int, ...]], Narrow] = {}
        self._is_short = len(program.kinds) < 1 << 15
        self._ends: dict[tuple[int, int], tuple[Table, Places]] = {}
        self._costs: dict[int, tuple[Table, int, Costs]] = {}

    def narrow(self, options: tuple[int, ...], budget: int) -> Narrow:
        """Return those of some options that a budget admits."""
        key = budget, options
        if key not in self._narrow:
            own = [option for option in options if self.gpus[option] <= budget]
            self._narrow[key] = Narrow(own, [self.gpus[option] for option in own], self.bounds_key(own))
        return self._narrow[key]

    def bounds_key(self, options: Sequence[int]) -> str:
        """Return all that bounds of a table over some options depend on: layers of each kind, and the options.

        As text, whose hash is kept.
        """
        return f"{self.floor} {self.counts_key} {list(options)}"

    def within(self, budget: int) -> int:
        """Options up to the last of at most so many GPUs."""
        if budget not in self._within:
            self._within[budget] = max((place + 1 for place in self.every if self.gpus[place] <= budget), default=0)
        return self._within[budget]

    def ends(self, table: Table, limit: int, count: int) -> Places:
        """Per option, the first ``count`` (at least), and start: the furthest end of a stage within a limit."""
        key = id(table), limit
        known = self._ends.get(key)
        if known is None or len(known[1]) < count:
            whole = self._costs_of(table, count).furthest(limit)
            far: Places = whole.astype(np.int16) if self._is_short else whole
            while self._ends and len(self._ends) * far.size > FURTHEST_KEPT:
                del self._ends[next(iter(self._ends))]
            known = self._ends[key] = table, far
        return known[1]

    def _costs_of(self, table: Table, count: int) -> Costs:
        """Costs of the first ``count`` options: one table is often asked about at many limits, one after the other."""
        known = self._costs.get(id(table))
        if known is None or known[1] < count:
            while len(self._costs) >= TABLES_READ:
                del self._costs[next(iter(self._costs))]
            found = Costs.of(self.program, table, self.every[:count], floor=self.floor)
            known = self._costs[id(table)] = table, count, found
        return known[2]

    def work(self, table: Table, count: int) -> Ints:
        """Per option, the first ``count`` at least: a layer of each kind, then what a chain of stages has once.

        `counts` says how often a chain has each.
        """
        key = "work", self.floor, len(self.kind_counts)
        known: Ints | None = table.least.get(key)
        if known is None or len(known) < count:
            cells = table.rounded_cells(count, floor=self.floor)
            refuse_large(table, cells, len(self.program.kinds))
            once = np.stack((cells.first, cells.last, cells.base), axis=1)
            known = table.least[key] = np.concatenate((cells.layer[:, : len(self.kind_counts)], once), axis=1)
        return known

    def alone(self, table: Table, option: int, count: int) -> tuple[int, int]:
        """Unit-GPUs and sum of the whole work of a row under one option, of ``count`` that are of use."""
        key = self.floor, self.counts_key
        known: tuple[list[int], list[int]] = table.least.get(key, ([], []))
        if len(known[0]) <= option:
            sums: Ints = self.work(table, count) @ self.counts
            known = table.least[key] = (sums * self.widths[: len(sums)]).tolist(), sums.tolist()
        return known[0][option], known[1][option]


class View:
    """The rows and options of one context: a partial case, stage limits, and the budget of one replica."""

    def __init__(
        self,
        program: Program,
        furthest: Furthest,
        *,
        caps: Callable[[], Sequence[tuple[Cap, int]]],
        paths: Sequence[Bounded],
        options: tuple[int, ...],
        budget: int,
    ) -> None:
        """Take rows with their limits, and the program's arrays; ``caps`` are built when they are first read."""
        self.program, self.budget, self._furthest = program, budget, furthest
        self.layers = len(program.kinds)
        self.options, self.gpus, self._bounds_key = furthest.narrow(options, budget)
        self.kind_counts = furthest.kind_counts
        self._read_caps, self.paths = caps, tuple(paths)
        self._floor = furthest.floor
        self._costs: dict[int, Costs] = {}

    @cached_property
    def caps(self) -> tuple[tuple[Cap, int], ...]:
        """Rows that each stage keeps, with their limits."""
        return tuple(self._read_caps())

    def without_dominated(self) -> View:
        """The same context without options that another one beats in GPUs and in every cost.

        Replacing such an option in a chain keeps every row and adds no GPU, so an optimum remains.
        """
        tables = [cap.table for cap, _ in self.caps] + [row.path.table for row in self.paths]
        columns = [np.array(self.gpus, dtype=np.int64)[:, None]]
        for table in tables:
            costs = self.costs(table)
            columns += [costs.layer, np.stack([costs.base, costs.entry, costs.first, costs.last], axis=1)]
        features = np.hstack(columns)
        weaker: NDArray[np.bool_] = np.all(features[:, None, :] >= features[None, :, :], axis=2)
        tied_earlier = np.tril(weaker.T, -1)
        beaten: NDArray[np.bool_] = np.any(weaker & (~weaker.T | tied_earlier), axis=1)
        kept = [place for place in range(len(self.options)) if not beaten[place]]
        if len(kept) == len(self.options):
            return self
        found = self.narrowed(self.paths)
        found.options = [self.options[place] for place in kept]
        found.gpus = [self.gpus[place] for place in kept]
        found._costs = {id(table): self.costs(table).only(kept) for table in tables}
        found.__dict__.pop("_far_of_caps", None)
        found._bounds_key = self._furthest.bounds_key(found.options)
        return found

    def with_row(self, row: Bounded) -> View:
        """The same context with other limits of one path row."""
        return self.narrowed([row if other.path is row.path else other for other in self.paths])

    def narrowed(self, paths: Sequence[Bounded]) -> View:
        """The same context with other intervals; costs already read are kept."""
        found = View.__new__(View)
        found.__dict__.update(self.__dict__)
        found.__dict__["_far_of_caps"] = self._far_of_caps
        found.__dict__.pop("far", None)
        found.paths = tuple(paths)
        return found

    def costs(self, table: Table) -> Costs:
        """Return the arrays of a table."""
        key = id(table)
        if key not in self._costs:
            count = self._furthest.within(self.budget)
            self._costs[key] = Costs.of(self.program, table, self.options, floor=self._floor, count=count)
        return self._costs[key]

    def volume(self, table: Table) -> int:
        """Least unit-GPUs that the whole work of a row takes, whatever the options."""
        return self._least(table)[0]

    def least_sum(self, table: Table) -> int:
        """Least sum of a row over the stages of a chain, whatever the options."""
        return self._least(table)[1]

    def least_value(self, path: Path) -> int:
        """Return a value of a path that no chain stays below: its least sum, and the slowest stage's mean by GPUs."""
        work, least = self._least(path.table)
        return least + (path.microbatches - 1) * -(-work // self.budget)

    def _least(self, table: Table) -> tuple[int, int]:
        if len(self.options) == 1:
            return self._furthest.alone(table, self.options[0], self._furthest.within(self.budget))
        key = self._bounds_key
        known: tuple[int, int] | None = table.least.get(key)
        if known is None:
            work = self._furthest.work(table, self._furthest.within(self.budget))[self.options]
            widths = np.array(self.gpus, dtype=np.int64)[:, None]
            counts = self._furthest.counts
            known = int((work * widths).min(axis=0) @ counts), int(work.min(axis=0) @ counts)
            table.least[key] = known
        return known

    def _ends(self, table: Table, limit: int) -> Ints:
        whole = self._furthest.ends(table, limit, self._furthest.within(self.budget))
        found: Ints = whole[self.options].astype(np.int64)
        return found

    @cached_property
    def _far_of_caps(self) -> Ints | None:
        rows = [self._ends(cap.table, limit) for cap, limit in self.caps]
        return np.minimum.reduce(rows) if rows else None

    @cached_property
    def far(self) -> Ints:
        """Per option and start, the furthest end of a stage within all stage limits."""
        rows = [self._ends(row.path.table, row.high) for row in self.paths if row.high is not None]
        if self._far_of_caps is not None:
            rows.append(self._far_of_caps)
        return np.minimum.reduce(rows) if rows else np.full((len(self.options), self.layers + 1), self.layers)

    def reach(self) -> tuple[int, ...]:
        """Furthest layer that stages of g GPUs in total cover within the stage limits, for g = 0..budget."""
        if len(self.gpus) == 1:
            return self._reach_alone()
        ahead: dict[int, Ints] = {}
        for width, far in zip(self.gpus, self.far, strict=True):
            ahead[width] = np.maximum(ahead[width], far) if width in ahead else far
        steps = [(width, far.tolist()) for width, far in ahead.items()]
        found = [0] * (self.budget + 1)
        for gpus in range(1, self.budget + 1):
            best = found[gpus - 1]
            for width, furthest in steps:
                if width <= gpus:
                    best = max(best, furthest[found[gpus - width]], furthest[0])
            found[gpus] = best
        return tuple(found)

    def _reach_alone(self) -> tuple[int, ...]:
        """The same under one option: every stage as long as it may be."""
        width, far = self.gpus[0], self.far[0].tolist()
        found = [0] * (self.budget + 1)
        for gpus in range(width, self.budget + 1):
            found[gpus] = max(found[gpus - 1], far[found[gpus - width]], far[0])
        return tuple(found)

    def reach_chain(self, reach: Sequence[int]) -> tuple[StageChoice, ...]:
        """Stages of a chain that covers every layer, from a reach table that does."""
        stages: list[StageChoice] = []
        gpus = next(place for place, layer in enumerate(reach) if layer == self.layers)
        stop = self.layers
        while stop > 0:
            place, start = self._step_back(reach, gpus, stop)
            stages.append(StageChoice(start, stop, self.options[place]))
            gpus, stop = gpus - self.gpus[place], start
        return tuple(reversed(stages))

    def _step_back(self, reach: Sequence[int], gpus: int, stop: int) -> tuple[int, int]:
        for place, width in enumerate(self.gpus):
            starts = {reach[gpus - width], 0} if width <= gpus else set()
            for start in sorted(start for start in starts if start < stop):
                if self.far[place][start] >= stop:
                    return place, start
        raise InternalError("a reach table without a chain")

    def cheapest(self, weights: Sequence[tuple[Table, int]]) -> Cheapest:
        """Least weighted sum of stage costs for every GPU count and layer."""
        if len(weights) == 1 and weights[0][1] == 1:
            costs = self.costs(weights[0][0])
            before, after = costs.before, costs.after
        else:
            before = np.sum([self.costs(table).before * weight for table, weight in weights], axis=0)
            after = np.sum([self.costs(table).after * weight for table, weight in weights], axis=0)
        if len(self.options) == 1:
            alone = self.options[0], self.gpus[0], self.far[0], before[0], after[0]
            return cheapest_alone(*alone, budget=self.budget)
        found = bands(self.gpus, self.far, before, after)
        return Cheapest(self.options, least_sums(found, budget=self.budget, layers=self.layers), found)


def weighted_costs(view: View, weights: Sequence[tuple[Table, int]]) -> Costs:
    """Weighted sum of several tables."""
    parts = [(view.costs(table), weight) for table, weight in weights]
    names = ("base", "entry", "first", "last", "layer")
    base, entry, first, last, layer = (sum(getattr(costs, name) * weight for costs, weight in parts) for name in names)
    return Costs(base, entry, first, last, layer, parts[0][0].kinds)
