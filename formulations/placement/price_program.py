"""The linear program that finds the prices: cutting stock over ranks, its columns made on demand.

A column is what one rank may hold: at most s replicas whose cells add up to at most K - 1. The program
asks for the fewest ranks that carry every expert in some number of replicas (fractions allowed); when even
that needs more than R ranks, its dual prices refute the target. Floats only choose the prices; what they
prove is recomputed in integers by `formulations.placement.prices`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ortools.linear_solver import pywraplp

from formulations.placement.bounds import PriceList
from formulations.placement.prices import cell_of, prices_refute
from formulations.placement.problem import LayerProblem

Floats = NDArray[np.float64]

_CELLS = 1000
"""Cells of [0, T): a rank of s replicas is underestimated by less than s / 1000 of T."""

_SCALE = 1_000_000
"""Prices are rounded down to millionths, where 1.0 buys a whole rank."""

_COLUMNS_PER_ROUND = 30


@dataclass(frozen=True)
class Sizes:
    """The replicas that every expert may have below a target: ``choices[expert]`` of (copies, cell)."""

    choices: tuple[tuple[tuple[int, int], ...], ...]
    cells: tuple[int, ...]


def refuting_prices(
    problem: LayerProblem,
    loads: Sequence[int],
    target: Fraction,
    *,
    starts: Sequence[Sequence[int]] = (),
    out_of_time: Callable[[], bool] = lambda: False,
) -> PriceList | None:
    """Return prices that prove the largest rank load to be at least ``target``; ``None`` if none was found.

    ``starts``: rows of cells that are known to fit on a rank, to begin with.
    """
    sizes = _sizes(problem, loads, target)
    if sizes is None:
        return PriceList(cells=_CELLS, prices=(0,) * _CELLS, slot_price=0)
    master = _Master(problem, sizes)
    for cell in sizes.cells:
        master.add((cell,))
    for row in starts:
        if len(row) <= problem.width and sum(row) < _CELLS and set(row) <= set(sizes.cells):
            master.add(tuple(row))
    while not out_of_time():
        needed, prices, slot_price = master.solve()
        if needed <= problem.ranks * (1 + 1e-7):
            return None
        found = _rounded(prices, slot_price)
        if prices_refute_fast(problem, loads, target, found):
            return found if prices_refute(problem, loads, target, found) else None
        columns = _dear_columns(sizes.cells, prices, width=problem.width)
        if not columns:
            return None
        for column in columns:
            master.add(column)
    return None


def _sizes(problem: LayerProblem, loads: Sequence[int], target: Fraction) -> Sizes | None:
    choices = []
    for load in loads:
        pairs = [(copies, cell_of(load, copies, target, _CELLS)) for copies in range(1, problem.most_copies + 1)]
        fitting = tuple((copies, cell) for copies, cell in pairs if cell < _CELLS)
        if not fitting:
            return None
        choices.append(fitting)
    return Sizes(tuple(choices), tuple(sorted({cell for pairs in choices for _, cell in pairs})))


class _Master:
    """The restricted master program: fewest ranks, with the columns known so far."""

    def __init__(self, problem: LayerProblem, sizes: Sizes) -> None:
        solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.solver, self.known = solver, set[tuple[int, ...]]()
        self.rows: dict[int, Any] = {cell: solver.Constraint(0.0, solver.infinity()) for cell in sizes.cells}
        self.slots = solver.Constraint(float(problem.filled), float(problem.filled))
        for choices in sizes.choices:
            once = solver.Constraint(1.0, 1.0)
            for copies, cell in choices:
                share = solver.NumVar(0.0, solver.infinity(), "")
                once.SetCoefficient(share, 1.0)
                self.slots.SetCoefficient(share, float(copies))
                row = self.rows[cell]
                row.SetCoefficient(share, row.GetCoefficient(share) - copies)
        solver.Objective().SetMinimization()

    def add(self, column: tuple[int, ...]) -> None:
        """Add what a rank may hold, a row of cells."""
        ordered = tuple(sorted(column))
        if ordered in self.known:
            return
        self.known.add(ordered)
        used = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.solver.Objective().SetCoefficient(used, 1.0)
        for cell in set(ordered):
            self.rows[cell].SetCoefficient(used, float(ordered.count(cell)))

    def solve(self) -> tuple[float, Floats, float]:
        """Return the ranks needed, the price of every cell, and that of a slot."""
        status = self.solver.Solve()
        prices = np.zeros(_CELLS)
        if status != pywraplp.Solver.OPTIMAL:
            return 0.0, prices, 0.0
        for cell, row in self.rows.items():
            prices[cell] = max(row.dual_value(), 0.0)
        return self.solver.Objective().Value(), prices, -self.slots.dual_value()


def _rounded(prices: Floats, slot_price: float) -> PriceList:
    whole = np.floor(prices * _SCALE).astype(int).tolist()
    return PriceList(cells=_CELLS, prices=tuple(whole), slot_price=round(slot_price * _SCALE))


def prices_refute_fast(problem: LayerProblem, loads: Sequence[int], target: Fraction, price_list: PriceList) -> bool:
    """Judge prices as `prices_refute` does, with numpy: quick, and only a preselection."""
    from formulations.placement.prices import cheapest_placement

    prices = np.array(price_list.prices, dtype=float)
    cells = tuple(np.flatnonzero(prices > 0).tolist())
    dearest = _tables(cells, prices, width=problem.width)[-1][-1] if cells else 0.0
    paid = cheapest_placement(problem, loads, target, price_list)
    return paid is None or paid > problem.ranks * dearest


def _tables(cells: Sequence[int], prices: Floats, *, width: int) -> list[Floats]:
    """Return ``tables[n][k]``: the most that at most n replicas of total cell k can cost."""
    tables = [np.zeros(_CELLS)]
    for _ in range(width):
        longer = tables[-1].copy()
        for cell in cells:
            np.maximum(longer[cell:], tables[-1][: _CELLS - cell] + prices[cell], out=longer[cell:])
        tables.append(longer)
    return tables


def _dear_columns(cells: Sequence[int], prices: Floats, *, width: int) -> list[tuple[int, ...]]:
    """Return the dearest ranks, each around another replica, that cost more than one rank is worth."""
    dear = [cell for cell in cells if prices[cell] > 0]
    tables = _tables(dear, prices, width=width)
    totals = sorted(((prices[c] + tables[width - 1][_CELLS - 1 - c], c) for c in dear), reverse=True)
    chosen = [cell for total, cell in totals[:_COLUMNS_PER_ROUND] if total > 1 + 1e-7]
    return [(cell, *_filled(dear, prices, tables, left=width - 1, room=_CELLS - 1 - cell)) for cell in chosen]


def _filled(cells: Sequence[int], prices: Floats, tables: Sequence[Floats], *, left: int, room: int) -> tuple[int, ...]:
    held = []
    while left > 0 and tables[left][room] > 1e-12:
        value = tables[left][room]
        if tables[left - 1][room] >= value - 1e-12:
            left -= 1
            continue
        cell = next(c for c in cells if c <= room and tables[left - 1][room - c] + prices[c] >= value - 1e-12)
        held.append(cell)
        left, room = left - 1, room - cell
    return tuple(held)
