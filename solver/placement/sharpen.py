"""Close the gaps that search leaves: prove small layers with CP-SAT, raise bounds with prices."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import TYPE_CHECKING

from formulations.placement.bounds import LowerBound
from formulations.placement.prices import cell_of

if TYPE_CHECKING:
    from solver.placement.layers import _Work

_HALVINGS = 5
_SMALL = 3000
"""Booleans up to which a layer is handed to CP-SAT."""


def prove_small(work: _Work, *, until: float) -> None:
    """Solve small layers to proven optimality; the best placement so far is the hint."""
    from formulations.placement.program import program_size, solve_layer

    for index in work.open():
        problem = work.tasks[index][0]
        left = until - time.monotonic()
        if left <= 0 or program_size(problem) > _SMALL:
            continue
        found = solve_layer(problem, hint=work.answers[index].slots, seconds=left, seed=work.settings.seed)
        if found.slots is not None:
            work.improve(index, found.slots)
        if found.bound is not None:
            work.raise_bound(index, LowerBound(found.bound, "cp-sat"))


def sharpen_bounds(work: _Work, *, until: float) -> None:
    """Raise the bounds of open layers by prices, largest gap first."""
    for index in work.open():
        if time.monotonic() >= until:
            return
        problem = work.tasks[index][0]
        if problem.split == "even":
            for profile in range(len(problem.loads)):
                _raise_by_prices(work, index, profile, until=until)


def _raise_by_prices(work: _Work, index: int, profile: int, *, until: float) -> None:
    """Look for the largest target that prices refute, between the bound and the load that was reached."""
    from formulations.placement.price_program import refuting_prices

    problem, loads = work.tasks[index][0], work.tasks[index][0].loads[profile]
    answer = work.answers[index]
    low, high = answer.bound.value, answer.load
    target = high * Fraction(998, 1000)
    for _ in range(_HALVINGS):
        if target <= low or time.monotonic() >= until:
            return
        rounded = Fraction(-(-target.numerator * 1024 // target.denominator), 1024)
        prices = refuting_prices(
            problem, loads, rounded, starts=_cells(work, index, profile, rounded),
            out_of_time=lambda: time.monotonic() >= until,
        )  # fmt: skip
        if prices is not None:
            low = rounded
            work.raise_bound(index, LowerBound(rounded, "prices", profile, prices))
        else:
            high = rounded
        target = (low + high) / 2
        if high - low < high * Fraction(1, 1000):
            return


def _cells(work: _Work, index: int, profile: int, target: Fraction) -> list[list[int]]:
    """Return the ranks of the placement in hand as rows of cells."""
    from formulations.placement.check import count_replicas
    from formulations.placement.price_program import _CELLS

    slots = work.answers[index].slots
    copies, loads = count_replicas(slots), work.tasks[index][0].loads[profile]
    return [[cell_of(loads[e], copies[e], target, _CELLS) for e in rank if e >= 0] for rank in slots]
