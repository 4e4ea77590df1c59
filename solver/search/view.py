r"""Exact search over chains of stages in one context, by dynamic programming over layers and GPUs.

A `View` holds the rows and options of a context as arrays. In it

* `View.reach` finds the furthest layer that g GPUs cover when only stage limits count;
* `View.cheapest` finds, for every g and layer i, the least sum of one path row over chains of g GPUs;
* `View.labels` keeps, with several path rows, the non-dominated vectors of their sums.

All arithmetic is in 64-bit integers; `View` refuses tables whose sums could leave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.deployment.chains import StageChoice
from shardproof.formulations.deployment.tables import Cap, Path, Program, Table
from shardproof.instances.errors import InputError, InternalError
from shardproof.solver.search.least_sums import NEVER, Cheapest, Ints, bands, least_sums

LABELS_AT_MOST = 60_000
TOO_LARGE = "the cost tables exceed 2**60 ns or bytes; correct the quantities of the device or the workload"


class TooManyLabels(Exception):
    """The non-dominated labels of a context are more than the search is willing to hold."""


@dataclass(frozen=True)
class Costs:
    """One table over the options of a view: ``prefix[o, i]`` is the cost of layers ``0 .. i-1``."""

    base: Ints
    entry: Ints
    first: Ints
    last: Ints
    layer: Ints
    prefix: Ints

    @classmethod
    def of(cls, program: Program, table: Table, options: Sequence[int]) -> Costs:
        """Read a table for some options."""
        rows = np.array([tuple(table.layer[option])[: 1 + max(program.kinds)] for option in options], dtype=np.int64)
        steps = rows[:, np.array(program.kinds)]
        prefix = np.zeros((len(options), len(program.kinds) + 1), dtype=np.int64)
        np.cumsum(steps, axis=1, out=prefix[:, 1:])
        ends = [
            np.array([cells[o] for o in options], dtype=np.int64)
            for cells in (table.base, table.entry, table.first, table.last)
        ]
        if rows.size and int(rows.max()) * len(program.kinds) + sum(int(cells.max()) for cells in ends) >= NEVER:
            raise InputError(TOO_LARGE)
        base, entry, first, last = ends
        return cls(base, entry, first, last, rows, prefix)

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
        cells = (self.base, self.entry, self.first, self.last, self.layer, self.prefix)
        return Costs(*(array[list(places)] for array in cells))

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


def costs_of(program: Program, table: Table, options: Sequence[int], *, floor: bool) -> Costs:
    """Return the arrays of a table for some options; what was read for more of them is not read again."""
    read: dict[tuple[int, ...], Costs] = table.arrays.setdefault((program.kinds, floor), {})
    wanted = tuple(options)
    if wanted not in read:
        wider = next((known for known in read if set(wanted) <= set(known)), None)
        if wider is None:
            read[wanted] = Costs.of(program, table.floor if floor else table, wanted)
        else:
            read[wanted] = read[wider].only([wider.index(option) for option in wanted])
    return read[wanted]


@dataclass(frozen=True)
class Bounded:
    """A path row in a context: its limit (``None``: none) and the interval ``(low, high]`` of its slowest stage."""

    path: Path
    limit: int | None
    low: int
    high: int | None


class View:
    """The rows and options of one context: a partial case, stage limits, and the budget of one replica."""

    def __init__(
        self,
        program: Program,
        *,
        caps: Sequence[tuple[Cap, int]],
        paths: Sequence[Bounded],
        options: Sequence[int],
        budget: int,
        floor: bool,
    ) -> None:
        """Take rows with their limits; ``floor`` reads the tables rounded down."""
        self.program, self.budget = program, budget
        self.layers = len(program.kinds)
        widths = {option: program.options[option].gpus for option in options}
        self.options = [option for option in options if widths[option] <= budget]
        self.gpus = [widths[option] for option in self.options]
        self.kind_counts: Ints = np.bincount(program.kinds, minlength=1 + max(program.kinds))
        self.caps, self.paths = tuple(caps), tuple(paths)
        self._floor = floor
        self._costs: dict[int, Costs] = {}

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
        return found

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
            self._costs[key] = costs_of(self.program, table, self.options, floor=self._floor)
        return self._costs[key]

    @cached_property
    def _far_of_caps(self) -> Ints | None:
        rows = [self.costs(cap.table).furthest(limit) for cap, limit in self.caps]
        return np.minimum.reduce(rows) if rows else None

    @cached_property
    def far(self) -> Ints:
        """Per option and start, the furthest end of a stage within all stage limits."""
        rows = [self.costs(row.path.table).furthest(row.high) for row in self.paths if row.high is not None]
        if self._far_of_caps is not None:
            rows.append(self._far_of_caps)
        return np.minimum.reduce(rows) if rows else np.full((len(self.options), self.layers + 1), self.layers)

    def reach(self) -> tuple[int, ...]:
        """Furthest layer that stages of g GPUs in total cover within the stage limits, for g = 0..budget."""
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
        before = np.sum([self.costs(table).before * weight for table, weight in weights], axis=0)
        after = np.sum([self.costs(table).after * weight for table, weight in weights], axis=0)
        found = bands(self.gpus, self.far, before, after)
        return Cheapest(self.options, least_sums(found, budget=self.budget, layers=self.layers), found)

    def labels(self, tables: Sequence[Table], limits: Sequence[int]) -> Labels:
        """Non-dominated sums of several path rows; each row's sum may not exceed its limit."""
        return Labels(self, tables, limits)


Label = tuple[int, ...]


class Labels:
    """Exact search with several path rows: all non-dominated (layer, sum of each row) per GPU count."""

    def __init__(self, view: View, tables: Sequence[Table], limits: Sequence[int]) -> None:
        """Build every label; raises `TooManyLabels` when they are more than can be held."""
        self._view, self._limits = view, tuple(limits)
        self._costs = [view.costs(table) for table in tables]
        self._rest = [remaining_minimum(view.costs(table)) for table in tables]
        self.rows: list[list[Label]] = [[(0,) * (len(tables) + 1)]]
        self._origin: dict[tuple[int, Label], tuple[int, Label, int]] = {}
        self.complete: tuple[int, Label] | None = None
        for gpus in range(1, view.budget + 1):
            self._add_row(gpus)
            if self.complete is not None:
                break

    def _add_row(self, gpus: int) -> None:
        view, fresh = self._view, dict[Label, tuple[int, Label, int]]()
        for place, width in enumerate(view.gpus):
            for label in self.rows[gpus - width] if width <= gpus else ():
                start = label[0]
                before = [int(costs.before[place, start]) for costs in self._costs]
                for stop in range(start + 1, int(view.far[place][start]) + 1):
                    sums = tuple(
                        value + int(costs.after[place, stop]) - less
                        for value, costs, less in zip(label[1:], self._costs, before, strict=True)
                    )
                    if self._hopeless(stop, sums):
                        continue
                    fresh.setdefault((stop, *sums), (gpus - width, label, place))
        earlier = [label for row in self.rows[1:] for label in row]
        kept = _non_dominated(fresh, earlier)
        self.rows.append([label for label in kept if label[0] < view.layers])
        for label in kept:
            self._origin[gpus, label] = fresh[label]
            if label[0] == view.layers and self.complete is None:
                self.complete = (gpus, label)
        if sum(map(len, self.rows)) > LABELS_AT_MOST:
            raise TooManyLabels

    def _hopeless(self, stop: int, sums: tuple[int, ...]) -> bool:
        return any(
            value + int(rest[stop]) > limit for value, rest, limit in zip(sums, self._rest, self._limits, strict=True)
        )

    def chain(self) -> tuple[StageChoice, ...]:
        """Return the chain of the complete label."""
        if self.complete is None:
            raise InternalError("no label is complete")
        (gpus, label), stages = self.complete, list[StageChoice]()
        while label[0] > 0:
            before, origin, place = self._origin[gpus, label]
            stages.append(StageChoice(origin[0], label[0], self._view.options[place]))
            gpus, label = before, origin
        return tuple(reversed(stages))


def _non_dominated(fresh: dict[Label, tuple[int, Label, int]], earlier: Sequence[Label]) -> list[Label]:
    """Labels of ``fresh`` that no other one and no earlier one dominates (more layers, smaller sums)."""
    if not fresh:
        return []
    order = sorted(fresh, key=lambda label: (-label[0], label[1:]))
    keys = np.array([(-label[0], *label[1:]) for label in order], dtype=np.int64)
    held = np.array([(-label[0], *label[1:]) for label in earlier], dtype=np.int64).reshape(len(earlier), keys.shape[1])
    kept: list[Label] = []
    for label, key in zip(order, keys, strict=True):
        if held.size and bool((held <= key).all(axis=1).any()):
            continue
        kept.append(label)
        held = np.vstack([held, key])
    return kept


def weighted_costs(view: View, weights: Sequence[tuple[Table, int]]) -> Costs:
    """Weighted sum of several tables."""
    parts = [(view.costs(table), weight) for table, weight in weights]
    names = ("base", "entry", "first", "last", "layer", "prefix")
    return Costs(*(sum(getattr(costs, name) * weight for costs, weight in parts) for name in names))


def remaining_minimum(costs: Costs) -> Ints:
    """Least cost of covering layers ``i .. L-1`` whatever the options, for i = 0..L (0 at L)."""
    steps = np.diff(costs.prefix, axis=1).min(axis=0)
    rest = np.zeros(costs.prefix.shape[1], dtype=np.int64)
    rest[:-1] = np.cumsum(steps[::-1])[::-1] + costs.last.min() + (costs.base + costs.entry).min()
    return rest
