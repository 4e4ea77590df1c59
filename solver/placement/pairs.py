"""Two slots per rank: search over numbers of replicas alone.

With two full slots per rank, the best packing of given replicas is known: the heaviest with the lightest,
the second heaviest with the second lightest, and so on. So only the numbers of replicas are searched: every
step tries many ways of giving one replica's slot to another expert, and takes the one that most lowers the
squared excess of all pairs over a target just above the bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.placement.problem import LayerProblem, Slots

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TRIES = 50
_WANDER = 0.03
"""Chance of a step that does not improve; without it the search stays where it first gets stuck."""


def fits_pairs(problem: LayerProblem) -> bool:
    """Say whether a layer is one of pairs: two full slots, one profile, duplicates allowed."""
    full = problem.filled == 2 * problem.ranks
    return problem.width == 2 and full and len(problem.loads) == 1 and not problem.distinct


def search_pairs(problem: LayerProblem, start: Slots, *, target: float, steps: int, seed: int) -> Slots:
    """Return the best pairing found from the start's numbers of replicas; ``target`` in load units."""
    search = _PairSearch(problem, start, target, np.random.default_rng(seed))
    if problem.filled > problem.experts:
        for _ in range(steps):
            search.step()
    return search.pairing()


@dataclass
class _PairSearch:
    """The numbers of replicas in hand, and the best so far."""

    problem: LayerProblem
    start: Slots
    target: float
    random: np.random.Generator
    weights: Floats = field(init=False)
    copies: Integers = field(init=False)
    best: Integers = field(init=False)
    excess: float = field(init=False)
    largest: float = field(init=False)

    def __post_init__(self) -> None:
        self.weights = np.array(self.problem.loads[0], dtype=float)
        held = np.array(self.start, dtype=np.int64).ravel()
        self.copies = self.best = np.bincount(held, minlength=self.problem.experts)
        self.excess, self.largest = self._judged(self.copies[None], self._row()[None], at=0)

    def step(self) -> None:
        """Try many single changes and take the best, or now and then wander."""
        row = self._row()
        spare = np.flatnonzero(self.copies[row] >= 2)
        if not len(spare):
            self.copies = self.best
            return
        tries = np.arange(_TRIES)
        slot = self.random.choice(spare, _TRIES)
        taker = self.random.integers(0, self.problem.experts, _TRIES)
        rows, copies = np.tile(row, (_TRIES, 1)), np.tile(self.copies, (_TRIES, 1))
        copies[tries, row[slot]] -= 1
        copies[tries, taker] += 1
        rows[tries, slot] = taker
        excess, largest = self._measured(copies, rows)
        excess[row[slot] == taker] = np.inf
        lightest, chosen = int(largest.argmin()), int(excess.argmin())
        if largest[lightest] < self.largest:
            self.best, self.largest = copies[lightest], float(largest[lightest])
        if np.isfinite(excess[chosen]) and (excess[chosen] <= self.excess or self.random.random() < _WANDER):
            self.copies, self.excess = copies[chosen], float(excess[chosen])

    def pairing(self) -> Slots:
        """Return the best numbers of replicas, packed heaviest with lightest."""
        row = np.repeat(np.arange(self.problem.experts), self.best)
        ordered = row[np.argsort((self.weights / self.best)[row], kind="stable")].tolist()
        return tuple((ordered[-1 - rank], ordered[rank]) for rank in range(self.problem.ranks))

    def _row(self) -> Integers:
        return np.repeat(np.arange(self.problem.experts), self.copies)

    def _judged(self, copies: Integers, rows: Integers, *, at: int) -> tuple[float, float]:
        excess, largest = self._measured(copies, rows)
        return float(excess[at]), float(largest[at])

    def _measured(self, copies: Integers, rows: Integers) -> tuple[Floats, Floats]:
        """Return the squared excess and the heaviest pair of many candidates."""
        items = np.take_along_axis(self.weights / copies, rows, axis=1)
        items.sort(axis=1)
        ranks = self.problem.ranks
        pairs = items[:, :ranks] + items[:, ::-1][:, :ranks]
        over = np.maximum(pairs / self.target - 1, 0)
        return (over**2).sum(axis=1), pairs.max(axis=1)
