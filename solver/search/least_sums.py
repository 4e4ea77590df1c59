r"""Least sums of stage costs over chains, by dynamic programming over layers and GPUs.

A stage (i, j] costs ``after[j] - before[i]``. Stage limits let a stage hold few layers only, so the costs of all
stages of one width form a band along the diagonal: `Band` holds no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.deployment.chains import StageChoice
from shardproof.instances.errors import InternalError

Ints = NDArray[np.int64]
NEVER = 1 << 60
"""Cost of what is impossible; two of them still fit into 64 bits."""


@dataclass(frozen=True)
class Band:
    """Stages of one width: ``cost[j, k]`` is the least cost of stage (j - depth + k, j] (`NEVER`: over a limit).

    ``place[j, k]`` says under which of the view's options; ``first[j]`` is the least k within the limits (depth:
    none is).
    """

    cost: Ints
    place: Ints
    first: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Most layers that a stage of this width holds."""
        return len(self.cost[0])

    def costs_to(self, stop: int) -> tuple[int, Ints]:
        """Return the first start of a stage that ends at ``stop``, and the costs of it and all later starts."""
        first = max(self.first[stop], self.depth - stop)
        return stop - self.depth + first, self.cost[stop, first:]

    def place_of(self, start: int, stop: int) -> int:
        """Return the place of the option that a stage is cheapest under."""
        return int(self.place[stop, start - stop + self.depth])


def bands(gpus: Sequence[int], far: Ints, before: Ints, after: Ints) -> dict[int, Band]:
    """Return the bands of all stage widths; arrays have a row per option, a column per layer boundary."""
    found: dict[int, Band] = {}
    for width in dict.fromkeys(gpus):
        places = [place for place, own in enumerate(gpus) if own == width]
        depth = int((far[places] - np.arange(far.shape[1])).max())
        if depth > 0:
            found[width] = _band(places, depth, far, before, after)
    return found


def _band(places: Sequence[int], depth: int, far: Ints, before: Ints, after: Ints) -> Band:
    stops = np.arange(far.shape[1])[:, None]
    least = np.full((far.shape[1], depth), NEVER)
    which = np.full(least.shape, places[0])
    for place in places:
        inside = _windows(far[place], depth, -1) >= stops
        cost = np.where(inside, after[place][:, None] - _windows(before[place], depth, 0), NEVER)
        better = cost < least
        least[better], which[better] = cost[better], place
    allowed = least < NEVER
    first = np.where(allowed.any(axis=1), allowed.argmax(axis=1), depth)
    return Band(least, which, tuple(first.tolist()))


def _windows(row: Ints, depth: int, filling: int) -> Ints:
    """Per index j, the entries j - depth .. j - 1; ``filling`` stands for those before the first."""
    padded = np.empty(depth + len(row), dtype=np.int64)
    padded[:depth], padded[depth:] = filling, row
    return np.ndarray((len(row), depth), np.int64, padded.data, 0, (padded.itemsize, padded.itemsize))


def least_sums(found: dict[int, Band], *, budget: int, layers: int) -> Ints:
    """Return ``table[g, i]``: the least sum over chains of the first i layers on at most g GPUs.

    Both orders give the same table; a step by GPUs costs more than a step by layers, the more so the more layers.
    """
    if budget * (2 + layers // 100) > layers:
        return _by_layers(found, budget, layers)
    return _by_gpus(found, budget, layers)


def _by_gpus(found: dict[int, Band], budget: int, layers: int) -> Ints:
    table = np.full((budget + 1, layers + 1), NEVER, dtype=np.int64)
    table[0, 0] = 0
    for gpus in range(1, budget + 1):
        row = table[gpus]
        for width, band in found.items():
            if width <= gpus:
                sums = _windows(table[gpus - width], band.depth, NEVER) + band.cost
                np.minimum(row, sums.min(axis=1), out=row)
        np.minimum(row, table[gpus - 1], out=row)
    return table


def _by_layers(found: dict[int, Band], budget: int, layers: int) -> Ints:
    """Layer by layer, all GPU counts at once; no GPU count below ``fewest[i]`` reaches layer i."""
    columns = np.full((layers + 1, budget + 1), NEVER, dtype=np.int64)
    columns[0] = 0
    fewest = [0] * (layers + 1)
    for stop in range(1, layers + 1):
        column = columns[stop]
        for width, band in found.items():
            start, costs = band.costs_to(stop)
            if not len(costs):
                continue
            least = min(fewest[start:stop])
            if least + width <= budget:
                sums = columns[start:stop, least : budget + 1 - width] + costs[:, None]
                np.minimum(column[least + width :], sums.min(axis=0), out=column[least + width :])
        np.minimum.accumulate(column, out=column)
        fewest[stop] = int(np.count_nonzero(column == NEVER))
    return np.ascontiguousarray(columns.T)


@dataclass(frozen=True)
class Cheapest:
    """Table of least sums ``table[g, i]`` (at most g GPUs, first i layers), and the stages behind it.

    ``options`` are the options that the bands' places stand for.
    """

    options: Sequence[int]
    table: Ints
    bands: dict[int, Band]

    @property
    def total(self) -> int:
        """Least sum over whole chains within the budget (`NEVER`: there is none)."""
        return int(self.table[-1, -1])

    def chain(self) -> tuple[StageChoice, ...]:
        """Return a chain with the least sum."""
        gpus, stop, stages = len(self.table) - 1, self.table.shape[1] - 1, list[StageChoice]()
        while stop > 0:
            while gpus > 0 and self.table[gpus - 1, stop] == self.table[gpus, stop]:
                gpus -= 1
            width, start = self._step_back(gpus, stop)
            place = self.bands[width].place_of(start, stop)
            stages.append(StageChoice(start, stop, self.options[place]))
            gpus, stop = gpus - width, start
        return tuple(reversed(stages))

    def _step_back(self, gpus: int, stop: int) -> tuple[int, int]:
        for width, band in self.bands.items():
            begin, costs = band.costs_to(stop)
            if width <= gpus and len(costs):
                sums = self.table[gpus - width, begin:stop] + costs
                start = int(sums.argmin())
                if sums[start] == self.table[gpus, stop]:
                    return width, begin + start
        raise InternalError("a table of least sums without a chain")

    def label_rows(self, rest: Ints, limit: int) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Return the non-dominated labels (layer, sum) per GPU count that can still end within ``limit``."""
        found: list[tuple[tuple[int, int], ...]] = [((0, 0),)]
        below = np.full(self.table.shape[1], NEVER)
        for row in self.table[1:]:
            alive = (row + rest <= limit) & (row < NEVER)
            alive[0] = alive[-1] = False
            candidate = np.where(alive, row, NEVER)
            best_ahead = np.minimum.accumulate(np.minimum(candidate, below)[::-1])[::-1]
            ahead = np.append(best_ahead[1:], NEVER)
            keep = (candidate < NEVER) & (candidate < ahead) & (candidate < below)
            found.append(tuple((int(layer), int(row[layer])) for layer in np.flatnonzero(keep)))
            below = np.minimum(below, best_ahead)
        return tuple(found)


@dataclass(frozen=True)
class CheapestAlone(Cheapest):
    """The same under one option: a chain's sum grows with its stages alone, so that the longest stages are cheapest."""

    stops: tuple[int, ...]
    """Where stages end that are each as long as they may be."""

    def chain(self) -> tuple[StageChoice, ...]:
        """Return a chain of the fewest stages."""
        last = self.table.shape[1] - 1
        if not self.stops or self.stops[-1] != last:
            raise InternalError("a table of least sums without a chain")
        pairs = zip((0, *self.stops), self.stops, strict=False)
        return tuple(StageChoice(start, stop, self.options[0]) for start, stop in pairs)


def cheapest_alone(option: int, width: int, far: Ints, before: Ints, after: Ints, *, budget: int) -> CheapestAlone:
    """Return the least sums under one option; arrays have a column per layer boundary (`bands`)."""
    ends, layers, at = far.tolist(), len(far) - 1, 0
    stops: list[int] = []
    while at < layers and len(stops) < budget // width and ends[at] > at:
        at = ends[at]
        stops.append(at)
    numbers = np.arange(1, layers + 1)
    fewest = np.searchsorted(np.array(stops, dtype=np.int64), numbers) + 1
    step = int(after[1] - before[1]) if layers > 1 else 0
    sums = after[1:] - before[0] + (fewest - 1) * step
    rooms = np.arange(budget + 1)[:, None]
    table = np.full((budget + 1, layers + 1), NEVER, dtype=np.int64)
    table[:, 0] = 0
    table[:, 1:] = np.where((fewest * width <= rooms) & (numbers <= at), sums, NEVER)
    return CheapestAlone((option,), table, {}, tuple(stops))
