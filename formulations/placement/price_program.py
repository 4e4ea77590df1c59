"""The linear program that finds the prices: cutting stock over ranks, its columns made on demand.

A column is what one rank may hold: at most s replicas whose cells add up to at most K - 1. The program
asks for the fewest ranks that carry every expert in some number of replicas (fractions allowed); when even
that needs more than R ranks, its dual prices refute the target. Floats only choose the prices; what they
prove is recomputed in integers by `shardproof.formulations.placement.prices`.

Numbers of replicas become columns only when the prices ask for them, and a place cut for a replica may hold
any smaller one (which every rank allows anyway): both make the program small and its prices steady.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ortools.linear_solver import pywraplp

from shardproof.formulations.placement.bounds import PriceList
from shardproof.formulations.placement.prices import cell_of, prices_refute
from shardproof.formulations.placement.problem import LayerProblem, Slots

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CELLS = 1000
"""Cells of [0, T): a rank of s replicas is underestimated by less than s / 1000 of T."""

_SCALE = 1_000_000
"""Prices are rounded down to millionths, where 1.0 buys a whole rank."""

_COLUMNS_PER_ROUND = 40


@dataclass(frozen=True)
class PriceAnswer:
    """Either prices that refute a target, or the numbers of replicas that the program would reach it with.

    Neither, when time ran out or rounding stood in the way. ``copies[expert]`` are rounded to whole
    numbers one by one and need not fill the slots exactly.
    """

    prices: PriceList | None = None
    copies: tuple[int, ...] | None = None


def ask_prices(
    problem: LayerProblem,
    loads: Sequence[int],
    target: Fraction,
    *,
    start: Slots,
    out_of_time: Callable[[], bool] = lambda: False,
) -> PriceAnswer:
    """Look for prices that prove the largest rank load to be at least ``target``.

    ``start``: a placement whose numbers of replicas and ranks begin the program.
    """
    cells = _replica_cells(problem, loads, target)
    if (cells[:, -1] >= CELLS).any():  # some expert is too heavy in any number of replicas
        return PriceAnswer(PriceList(cells=CELLS, prices=(0,) * CELLS, slot_price=0))
    master = _Master(problem, cells, start)
    while not out_of_time():
        needed, prices, slot_price = master.solve()
        if needed <= problem.ranks * (1 + 1e-7):
            return PriceAnswer(copies=master.copies())
        tables = _tables(master.cells, prices, width=problem.width)
        costs = _copy_costs(cells, prices, slot_price)
        paid = costs.min(axis=1).sum() - slot_price * problem.filled
        if paid > problem.ranks * tables[-1][-1] * (1 + 1e-6):
            found = _rounded(prices, slot_price)
            return PriceAnswer(found if prices_refute(problem, loads, target, found) else None)
        if not master.grow(prices, tables, costs):
            break
    return PriceAnswer()


def _replica_cells(problem: LayerProblem, loads: Sequence[int], target: Fraction) -> Integers:
    """Return ``cells[expert, copies - 1]``; `CELLS` or more means too heavy."""
    counts = range(1, problem.most_copies + 1)
    rows = [[min(cell_of(load, copies, target, CELLS), CELLS) for copies in counts] for load in loads]
    return np.array(rows, dtype=np.int64)


def _copy_costs(cells: Integers, prices: Floats, slot_price: float) -> Floats:
    """Return what every expert pays in every number of replicas; infinite where they are too heavy."""
    copies = np.arange(1, cells.shape[1] + 1)
    priced = np.append(prices, np.inf)[cells]
    costs: Floats = copies * (priced + slot_price)
    return costs


class _Master:
    """The restricted master program: fewest ranks, with the columns known so far."""

    def __init__(self, problem: LayerProblem, replica_cells: Integers, start: Slots) -> None:
        solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.solver, self.width, self.replica_cells = solver, problem.width, replica_cells
        self.cells: list[int] = []
        self.rows: dict[int, Any] = {}
        self.known: set[tuple[int, ...]] = set()
        self.offered: dict[tuple[int, int], Any] = {}
        self.worth: list[float] = []
        self.slots = solver.Constraint(float(problem.filled), float(problem.filled))
        self.once = [solver.Constraint(1.0, 1.0) for _ in range(problem.experts)]
        solver.Objective().SetMinimization()
        self._begin(problem, start)

    def _begin(self, problem: LayerProblem, start: Slots) -> None:
        """Offer the start's numbers of replicas and their neighbours; add its ranks where they fit."""
        copies = np.bincount([e for rank in start for e in rank if e >= 0], minlength=problem.experts)
        for expert, count in enumerate(copies.tolist()):
            least = int(np.argmax(self.replica_cells[expert] < CELLS)) + 1
            for offer in {least, max(least, count - 1), max(least, count), max(least, count + 1)}:
                if offer <= problem.most_copies:
                    self.offer(expert, offer)
        for rank in start:
            self._add([int(self.replica_cells[e, copies[e] - 1]) for e in rank if e >= 0])
        for cell in list(self.cells):
            self._add([cell])

    def offer(self, expert: int, copies: int) -> None:
        """Let an expert have that many replicas."""
        cell = int(self.replica_cells[expert, copies - 1])
        self._row(cell)
        share = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.offered[expert, copies] = share
        self.once[expert].SetCoefficient(share, 1.0)
        self.slots.SetCoefficient(share, float(copies))
        self.rows[cell].SetCoefficient(share, -float(copies))

    def _row(self, cell: int) -> None:
        """Make the row of a cell; a place for the next larger cell may serve it, and it the next smaller."""
        if cell in self.rows:
            return
        self.rows[cell] = self.solver.Constraint(0.0, self.solver.infinity())
        at = bisect_left(self.cells, cell)
        if at < len(self.cells):
            self._serve(self.cells[at], cell)
        if at:
            self._serve(cell, self.cells[at - 1])
        insort(self.cells, cell)
        if len(self.cells) > 1:
            self._add([cell])

    def _serve(self, larger: int, smaller: int) -> None:
        swap = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.rows[larger].SetCoefficient(swap, -1.0)
        self.rows[smaller].SetCoefficient(swap, 1.0)

    def _add(self, column: Sequence[int]) -> bool:
        """Add what a rank may hold, a row of cells; say whether it is new."""
        ordered = tuple(sorted(column))
        if ordered in self.known or sum(ordered) >= CELLS or not set(ordered) <= set(self.rows):
            return False
        self.known.add(ordered)
        used = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.solver.Objective().SetCoefficient(used, 1.0)
        for cell in set(ordered):
            self.rows[cell].SetCoefficient(used, float(ordered.count(cell)))
        return True

    def grow(self, prices: Floats, tables: Sequence[Floats], costs: Floats) -> bool:
        """Add the columns that the prices ask for; say whether there were any."""
        grown = False
        for expert, worth in enumerate(self.worth):
            best = int(costs[expert].argmin())
            if costs[expert, best] < worth - 1e-9 and (expert, best + 1) not in self.offered:
                self.offer(expert, best + 1)
                grown = True
        for column in _dear_columns(self.cells, prices, tables, width=self.width):
            grown |= self._add(column)
        return grown

    def solve(self) -> tuple[float, Floats, float]:
        """Return the ranks needed, the price of every cell, and that of a slot.

        A cell without a row gets the price of the next smaller cell that has one: a smaller replica would
        do in its place, so no rank becomes dearer.
        """
        status = self.solver.Solve()
        if status != pywraplp.Solver.OPTIMAL:
            return 0.0, np.zeros(CELLS), 0.0
        prices = np.zeros(CELLS)
        for cell, row in self.rows.items():
            prices[cell] = max(row.dual_value(), 0.0)
        self.worth = [constraint.dual_value() for constraint in self.once]
        prices = np.maximum.accumulate(prices)
        return self.solver.Objective().Value(), prices, -self.slots.dual_value()

    def copies(self) -> tuple[int, ...]:
        """Return the mean number of replicas of every expert, rounded."""
        means = [0.0] * len(self.once)
        for (expert, count), share in self.offered.items():
            means[expert] += count * share.solution_value()
        return tuple(max(1, round(mean)) for mean in means)


def _rounded(prices: Floats, slot_price: float) -> PriceList:
    whole = np.floor(prices * _SCALE).astype(int).tolist()
    return PriceList(cells=CELLS, prices=tuple(whole), slot_price=round(slot_price * _SCALE))


def _tables(cells: Sequence[int], prices: Floats, *, width: int) -> list[Floats]:
    """Return ``tables[n][k]``: the most that at most n replicas of total cell k can cost."""
    dear = [cell for cell in cells if prices[cell] > 0]
    tables = [np.zeros(CELLS)]
    for _ in range(width):
        longer = tables[-1].copy()
        for cell in dear:
            np.maximum(longer[cell:], tables[-1][: CELLS - cell] + prices[cell], out=longer[cell:])
        tables.append(longer)
    return tables


def _dear_columns(
    cells: Sequence[int], prices: Floats, tables: Sequence[Floats], *, width: int
) -> list[tuple[int, ...]]:
    """Return the dearest ranks, each around another replica, that cost more than one rank is worth."""
    dear = [cell for cell in cells if prices[cell] > 0]
    totals = sorted(((prices[c] + tables[width - 1][CELLS - 1 - c], c) for c in dear), reverse=True)
    chosen = [cell for total, cell in totals[:_COLUMNS_PER_ROUND] if total > 1 + 1e-7]
    return [(cell, *_filled(dear, prices, tables, left=width - 1, room=CELLS - 1 - cell)) for cell in chosen]


def _filled(cells: Sequence[int], prices: Floats, tables: Sequence[Floats], *, left: int, room: int) -> tuple[int, ...]:
    """Trace back which replicas make up the dearest filling of what is left of a rank."""
    held: list[int] = []
    while left > 0 and tables[left][room] > 1e-12:
        value = tables[left][room]
        if tables[left - 1][room] >= value - 1e-12:
            left -= 1
            continue
        cell = next(c for c in cells if c <= room and tables[left - 1][room - c] + prices[c] >= value - 1e-12)
        held.append(cell)
        left, room = left - 1, room - cell
    return tuple(held)
