"""Batched local search: many layers at once, one numpy call per step for all of them.

Every state repeats: swap a replica of its most loaded rank with one elsewhere so that the larger of the two
ranks falls most; when no swap helps, keep the placement if it is no worse than the best so far, otherwise
go back to the best, and shake: a few random swaps, and often one replica of some expert turned into a
replica of another. The exact judgement is `shardproof.formulations.placement.check`.

Loads are whole numbers below 2**53 held in floats: sums are exact in whatever order a processor adds, so that
equal starts and seeds give equal placements everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.placement.problem import NO_EXPERT, LayerProblem, Slots

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_IMPROVES = 1 - 1e-9
"""A swap must gain more than rounding can feign."""

_SHIFT = 44
"""Bits of a profile's total load: sums stay exact, and rounding a share stays far below a gain that counts."""

_CANDIDATES = 4
"""Experts that compete for a freed slot when a replica is turned into another's."""


class BatchSearch:
    """States of equal shape: experts, ranks, slots per rank, profiles.

    Arrays: ``weights[state, profile, expert]`` with a last column of zeros for the empty slot,
    ``slots[state, rank, slot]``, ``loads[state, profile, rank]``.
    """

    def __init__(self, problems: Sequence[LayerProblem], starts: Sequence[Slots], *, seed: int) -> None:
        """Take one start per problem."""
        first = problems[0]
        self.experts, self.distinct, self.most_copies = first.experts, first.distinct, first.most_copies
        self.random = np.random.default_rng(seed)
        self._shifts = [_SHIFT - max(map(sum, problem.loads)).bit_length() for problem in problems]
        rows = np.array(
            [
                [[_shifted(load, by) for load in row] for row in p.loads]
                for p, by in zip(problems, self._shifts, strict=True)
            ],
            dtype=float,
        )
        self.weights: Floats = np.concatenate([rows, np.zeros((*rows.shape[:2], 1))], axis=2)
        slots = np.array(starts, dtype=np.int64)
        self.slots: Integers = np.where(slots == NO_EXPERT, self.experts, slots)
        self.best = self.slots.copy()
        self.best_load: Floats = self._measured(np.arange(len(problems)))[1].max(axis=(1, 2))

    def placement(self, state: int) -> Slots:
        """Return the best placement of a state."""
        rows = np.where(self.best[state] == self.experts, NO_EXPERT, self.best[state]).tolist()
        return tuple(tuple(int(expert) for expert in row) for row in rows)

    def reached(self, state: int) -> float:
        """Return the largest rank load of a state's best placement, a little rounded, in its problem's unit."""
        return float(self.best_load[state]) * 2.0 ** -self._shifts[state]

    def run(self, states: Sequence[int], *, steps: int) -> None:
        """Advance some states by a number of steps, each a swap or a shake."""
        window = _Window(self, np.array(states, dtype=np.int64))
        for _ in range(steps):
            window.step()
        self.slots[window.states] = window.slots

    def _measured(self, states: Integers) -> tuple[Floats, Floats]:
        """Return ``items[state, profile, rank, slot]`` and ``loads[state, profile, rank]``."""
        items = replica_weights(self.weights[states], self.slots[states], experts=self.experts)
        return items, items.sum(axis=3)


class _Window:
    """The states that are being advanced, cut out of the batch."""

    def __init__(self, batch: BatchSearch, states: Integers) -> None:
        self.batch, self.states, self.random = batch, states, batch.random
        self.rows: Integers = np.arange(len(states))
        self.weights = batch.weights[states]
        self.slots = batch.slots[states]
        self.items = replica_weights(self.weights, self.slots, experts=batch.experts)
        self.loads: Floats = self.items.sum(axis=3)

    def step(self) -> None:
        """Swap where it helps; settle and shake the states where it does not."""
        stuck = np.flatnonzero(~self._swap())
        if len(stuck):
            self._settle(stuck)
            self._shake(stuck)

    def _swap(self) -> Booleans:
        """Do every state's best swap of its most loaded rank; say which states improved."""
        worst = self.loads.max(axis=1).argmax(axis=1)
        given = self.items[self.rows, :, worst]  # state, profile, slot
        moved = given[:, :, :, None, None] - self.items[:, :, None, :, :]
        left = self.loads[self.rows, :, worst][:, :, None, None, None] - moved
        gained = self.loads[:, :, None, :, None] + moved
        larger = np.maximum(left, gained).max(axis=1)  # state, slot, rank, slot
        larger[self.rows, :, worst, :] = np.inf
        if self.batch.distinct:
            larger[self._clashes(worst)] = np.inf
        flat = larger.reshape(len(self.rows), -1)
        choice = flat.argmin(axis=1)
        now = self.loads.max(axis=(1, 2))
        improves: Booleans = flat[self.rows, choice] < now * _IMPROVES
        slot, rank, other = np.unravel_index(choice, larger.shape[1:])
        at = self.rows[improves]
        self._exchange(at, worst[improves], slot[improves], rank[improves], other[improves])
        return improves

    def _clashes(self, worst: Integers) -> Booleans:
        """Return where a swap would put two replicas of one expert on a rank (empty slots never clash)."""
        mine = self.slots[self.rows, worst]
        same = mine[:, :, None, None] == self.slots[:, None, :, :]  # state, slot, rank, slot
        real_mine = (mine != self.batch.experts)[:, :, None, None]
        real_other = (self.slots != self.batch.experts)[:, None, :, :]
        clash = (same.any(axis=3, keepdims=True) & real_mine) | (same.any(axis=1, keepdims=True) & real_other)
        result: Booleans = np.broadcast_to(clash, same.shape) & ~same
        return result

    def _exchange(self, at: Integers, rank: Integers, slot: Integers, other: Integers, place: Integers) -> None:
        self.slots[at, rank, slot], self.slots[at, other, place] = (
            self.slots[at, other, place],
            self.slots[at, rank, slot],
        )
        one, two = self.items[at, :, rank, slot], self.items[at, :, other, place]
        self.items[at, :, rank, slot], self.items[at, :, other, place] = two, one
        self.loads[at, :, rank] = self.items[at, :, rank].sum(axis=2)
        self.loads[at, :, other] = self.items[at, :, other].sum(axis=2)

    def _settle(self, stuck: Integers) -> None:
        """Keep a local optimum that is no worse than the best; otherwise return to the best."""
        batch, states = self.batch, self.states[stuck]
        reached = self.loads[stuck].max(axis=(1, 2))
        good = reached <= batch.best_load[states] * (1 + 1e-12)
        batch.best[states[good]] = self.slots[stuck[good]]
        batch.best_load[states[good]] = reached[good]
        self.slots[stuck[~good]] = batch.best[states[~good]]

    def _shake(self, stuck: Integers) -> None:
        """Disturb local optima: one to three random swaps, and for half of them a changed replica."""
        shape = self.slots.shape[1:]
        flat = self.slots[stuck].reshape(len(stuck), -1)
        before = flat.copy()
        swaps = self.random.integers(1, 4, len(stuck))
        rows = np.arange(len(stuck))
        for number in range(3):
            one, two = self.random.integers(0, flat.shape[1], (2, len(stuck)))
            two = np.where(number < swaps, two, one)
            flat[rows, one], flat[rows, two] = flat[rows, two], flat[rows, one]
        self._change_replicas(stuck, flat)
        if self.batch.distinct:
            bad = holds_twice(flat.reshape(len(stuck), *shape), experts=self.batch.experts)
            flat[bad] = before[bad]
        self.slots[stuck] = flat.reshape(len(stuck), *shape)
        self.items[stuck] = replica_weights(self.weights[stuck], self.slots[stuck], experts=self.batch.experts)
        self.loads[stuck] = self.items[stuck].sum(axis=3)

    def _change_replicas(self, stuck: Integers, flat: Integers) -> None:
        """Turn a random spare replica into one of an expert whose replicas are heavy."""
        rows = np.arange(len(stuck))
        copies = replica_counts(flat, experts=self.batch.experts)
        spare = (np.take_along_axis(copies, flat, axis=1) >= 2) & (flat != self.batch.experts)
        keys = self.random.random(flat.shape) * spare
        slot = keys.argmax(axis=1)
        heavy = self.weights[stuck].max(axis=1) / np.maximum(copies, 1)
        heavy[copies >= self.batch.most_copies] = 0.0
        drawn = self.random.integers(0, self.batch.experts, (len(stuck), _CANDIDATES))
        expert = drawn[rows, np.take_along_axis(heavy, drawn, axis=1).argmax(axis=1)]
        fits = copies[rows, expert] < self.batch.most_copies
        chosen = (keys[rows, slot] > 0) & fits & (self.random.random(len(stuck)) < 0.5)
        flat[rows[chosen], slot[chosen]] = expert[chosen]


def _shifted(load: int, by: int) -> int:
    return load << by if by >= 0 else load >> -by


def replica_counts(flat: Integers, *, experts: int) -> Integers:
    """Return ``copies[state, expert]`` of ``flat[state, slot]``; the last column counts empty slots."""
    states = len(flat)
    offsets = flat + np.arange(states)[:, None] * (experts + 1)
    counted = np.bincount(offsets.ravel(), minlength=states * (experts + 1))
    return counted.reshape(states, experts + 1)


def replica_weights(weights: Floats, slots: Integers, *, experts: int) -> Floats:
    """Return ``items[state, profile, rank, slot]``: the load that every replica carries, rounded down."""
    flat = slots.reshape(len(slots), -1)
    copies = np.maximum(replica_counts(flat, experts=experts), 1)
    each = np.floor(weights / copies[:, None, :])
    items = np.take_along_axis(each, np.broadcast_to(flat[:, None, :], (*each.shape[:2], flat.shape[1])), axis=2)
    return items.reshape(*each.shape[:2], *slots.shape[1:])


def holds_twice(slots: Integers, *, experts: int) -> Booleans:
    """Say for every state whether some rank holds two replicas of one expert."""
    ordered = np.sort(slots, axis=2)
    twice = (ordered[:, :, 1:] == ordered[:, :, :-1]) & (ordered[:, :, 1:] != experts)
    result: Booleans = twice.any(axis=(1, 2))
    return result
