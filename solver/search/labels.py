"""Non-dominated sums of several path rows over chains, by GPU count: arrays all through.

A label is ``(layer, sum of each row)`` of a chain's first stages. One that covers as many layers at no larger sums with
no more GPUs *dominates* another; only what no other dominates is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.deployment.chains import StageChoice
from shardproof.formulations.deployment.tables import Table
from shardproof.instances.errors import InternalError
from shardproof.solver.search.costs import remaining_minimum
from shardproof.solver.search.least_sums import Ints
from shardproof.solver.search.view import View

LABELS_AT_MOST = 60_000

Label = tuple[int, ...]


class TooManyLabels(Exception):
    """The non-dominated labels of a context are more than the search is willing to hold."""


class Labels:
    """Exact search with several path rows: all non-dominated labels per GPU count."""

    def __init__(
        self, view: View, tables: Sequence[Table], limits: Sequence[int], check_stop: Callable[[], None]
    ) -> None:
        """Build every label, or raise: `TooManyLabels` when they are more than can be held, `check_stop` when late."""
        self._view, self._check_stop = view, check_stop
        costs = [view.costs(table) for table in tables]
        self._before: Ints = np.stack([cost.before for cost in costs], axis=-1)
        self._after: Ints = np.stack([cost.after for cost in costs], axis=-1)
        rest: Ints = np.stack([remaining_minimum(cost) for cost in costs], axis=-1)
        self._room: Ints = np.array(limits, dtype=np.int64) - rest
        self._rows: list[Ints] = [np.zeros((1, len(tables) + 1), dtype=np.int64)]
        self._origins: list[Ints] = [np.zeros((1, 3), dtype=np.int64)]
        self.complete: tuple[int, int] | None = None
        for gpus in range(1, view.budget + 1):
            self._add_row(gpus)
            if self.complete is not None:
                break

    @property
    def rows(self) -> tuple[tuple[Label, ...], ...]:
        """Labels of every GPU count that do not cover all layers yet, in order."""
        last = self._view.layers
        return tuple(tuple(sorted(map(tuple, row[row[:, 0] < last].tolist()))) for row in self._rows)

    def _add_row(self, gpus: int) -> None:
        self._check_stop()
        parts = [self._extended(gpus - width, place) for place, width in enumerate(self._view.gpus) if width <= gpus]
        fresh = np.concatenate([labels for labels, _ in parts]) if parts else self._rows[0][:0]
        origins = np.concatenate([origin for _, origin in parts]) if parts else self._origins[0][:0]
        earlier = np.concatenate([self._rows[0][:0], *self._rows[1:]])
        kept = non_dominated(fresh, earlier, self._check_stop)
        self._rows.append(fresh[kept])
        self._origins.append(origins[kept])
        done = np.flatnonzero(self._rows[-1][:, 0] == self._view.layers)
        if len(done):
            self.complete = gpus, int(done[0])
        if sum(map(len, self._rows)) > LABELS_AT_MOST:
            raise TooManyLabels

    def _extended(self, gpus: int, place: int) -> tuple[Ints, Ints]:
        """Labels of so many GPUs with one stage more under one option, and where they come from."""
        labels = self._rows[gpus]
        starts = labels[:, 0]
        counts = np.where(starts < self._view.layers, self._view.far[place][starts] - starts, 0)
        which = np.repeat(np.arange(len(labels)), counts)
        steps = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        stops = starts[which] + 1 + steps
        sums = labels[which, 1:] + self._after[place, stops] - self._before[place, starts[which]]
        alive = (sums <= self._room[stops]).all(axis=1)
        found: Ints = np.column_stack((stops, sums))[alive]
        origins: Ints = np.column_stack((np.full(len(which), gpus), which, np.full(len(which), place)))[alive]
        return found, origins

    def chain(self) -> tuple[StageChoice, ...]:
        """Return the chain of the complete label."""
        if self.complete is None:
            raise InternalError("no label is complete")
        (gpus, at), stages = self.complete, list[StageChoice]()
        while gpus > 0:
            before, origin, place = self._origins[gpus][at].tolist()
            start, stop = int(self._rows[before][origin, 0]), int(self._rows[gpus][at, 0])
            stages.append(StageChoice(start, stop, self._view.options[place]))
            gpus, at = before, origin
        return tuple(reversed(stages))


def non_dominated(fresh: Ints, earlier: Ints, check_stop: Callable[[], None]) -> Ints:
    """Places of the labels of ``fresh`` that no other one and no earlier one dominates; of equal ones the first."""
    if not len(fresh):
        return np.zeros(0, dtype=np.int64)
    if fresh.shape[1] == 3:
        return _of_two_rows(fresh, earlier)
    keys = np.column_stack((-fresh[:, 0], fresh[:, 1:]))
    order = np.lexsort(keys.T[::-1])
    held = np.column_stack((-earlier[:, 0], earlier[:, 1:]))
    kept: list[int] = []
    for place in order.tolist():
        check_stop()
        key = keys[place]
        if len(held) and bool((held <= key).all(axis=1).any()):
            continue
        kept.append(place)
        held = np.vstack([held, key])
    return np.array(kept, dtype=np.int64)


def _of_two_rows(fresh: Ints, earlier: Ints) -> Ints:
    """The same with two sums: layer by layer from the last, against a stair of first sums and least second ones."""
    firsts: Ints = np.zeros(0, dtype=np.int64)
    seconds: Ints = np.zeros(0, dtype=np.int64)
    kept = []
    known, new = _by_layer(earlier), _by_layer(fresh)
    for layer in sorted(known.keys() | new.keys(), reverse=True):
        if layer in known:
            firsts, seconds = _stair(firsts, seconds, earlier[known[layer]])
        if layer in new:
            places = new[layer]
            labels = fresh[places]
            before = np.searchsorted(firsts, labels[:, 1], side="right") - 1
            least = np.where(before >= 0, seconds[before] if len(seconds) else 0, np.iinfo(np.int64).max)
            ahead = np.minimum.accumulate(labels[:, 2])
            ahead = np.concatenate((ahead[:1] + 1, ahead[:-1]))
            stands: NDArray[np.bool_] = (labels[:, 2] < least) & (labels[:, 2] < ahead)
            kept.append(places[stands])
            firsts, seconds = _stair(firsts, seconds, labels[stands])
    return np.concatenate(kept)


def _by_layer(labels: Ints) -> dict[int, Ints]:
    """Places of labels by their layer, in order of their sums."""
    order = np.lexsort((labels[:, 2], labels[:, 1], labels[:, 0]))
    layers, first = np.unique(labels[order, 0], return_index=True)
    return dict(zip(layers.tolist(), np.split(order, first[1:]), strict=True)) if len(labels) else {}


def _stair(firsts: Ints, seconds: Ints, labels: Ints) -> tuple[Ints, Ints]:
    """Add labels to a stair: first sums that grow while the least second sum falls."""
    both = np.concatenate((firsts, labels[:, 1])), np.concatenate((seconds, labels[:, 2]))
    order = np.lexsort((both[1], both[0]))
    firsts, seconds = both[0][order], both[1][order]
    least = np.minimum.accumulate(seconds)
    falls = np.concatenate(([True], least[1:] < least[:-1]))
    return firsts[falls], seconds[falls]
