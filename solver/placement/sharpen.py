"""Close the gaps that search leaves: prove small layers with CP-SAT, raise bounds with prices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from formulations.placement.bounds import LowerBound
from solver.placement.greedy import pack_copies
from solver.placement.pairs import fits_pairs, search_pairs

if TYPE_CHECKING:
    from solver.placement.layers import _Work

_HALVINGS = 6
_STEPS = 600
"""Steps of the search that starts from suggested numbers of replicas."""

_PAIR_STEPS = 400
_ABOVE_BOUND = 1.003

TINY, SMALL = 600, 3000
"""Variables up to which a layer is handed to CP-SAT, before and after the search."""


def prove_small(work: _Work, *, largest: int, until: float) -> None:
    """Solve small layers to proven optimality; the best placement so far is the hint."""
    from formulations.placement.program import program_size, solve_layer

    for index in work.open():
        problem = work.tasks[index][0]
        left = until - time.monotonic()
        if left <= 0 or program_size(problem) > largest:
            continue
        found = solve_layer(problem, hint=work.answers[index].slots, seconds=left, seed=work.settings.seed)
        if found.slots is not None:
            work.improve(index, found.slots)
        if found.bound is not None:
            work.raise_bound(index, LowerBound(found.bound, "cp-sat"))


def sharpen_bounds(work: _Work, *, until: float) -> None:
    """Raise the bounds of open layers by prices, largest gap first, each within an equal part of the time."""
    for index in work.open():
        if time.monotonic() < until:
            _pair_up(work, index)
    waiting = work.open()
    for number, index in enumerate(waiting):
        problem = work.tasks[index][0]
        left = until - time.monotonic()
        if left <= 0:
            return
        turn = time.monotonic() + 2 * left / (len(waiting) - number + 1)
        _pair_up(work, index)
        for profile in range(len(problem.loads)):
            _raise_by_prices(work, index, profile, until=min(turn, until))
        _pair_up(work, index)


def _raise_by_prices(work: _Work, index: int, profile: int, *, until: float) -> None:
    """Look for the largest target that prices refute, between the bound and the load that was reached.

    A target that they do not refute suggests numbers of replicas, from which the search starts anew.
    """
    from formulations.placement.price_program import ask_prices

    problem = work.tasks[index][0]
    loads = problem.loads[profile]
    low, high = work.answers[index].bound.value, work.answers[index].load
    mean = Fraction(sum(loads), problem.ranks)
    guesses = [high * Fraction(998, 1000)]
    if work.last_ratio is not None:  # layers of one model are alike: begin around the last one's answer
        guesses = [guesses[0], mean * work.last_ratio * Fraction(1002, 1000), mean * work.last_ratio]
    target = guesses.pop(0)
    for _ in range(_HALVINGS):
        if target <= low or high - low < high * Fraction(1, 1000) or time.monotonic() >= until:
            break
        rounded = Fraction(-(-target.numerator * 1024 // target.denominator), 1024)
        answer = ask_prices(
            problem,
            loads,
            rounded,
            start=work.answers[index].slots,
            out_of_time=lambda: time.monotonic() >= until,
        )
        if answer.prices is not None:
            low = rounded
            work.raise_bound(index, LowerBound(rounded, "prices", profile, answer.prices))
        else:
            high = rounded
        if answer.copies is not None:
            _search_from(work, index, answer.copies)
        high = min(high, work.answers[index].load)
        inside = [guess for guess in guesses if low < guess < high]
        guesses = inside[1:]
        target = inside[0] if inside else (low + high) / 2
    work.last_ratio = work.answers[index].bound.value / mean if mean else None


def _pair_up(work: _Work, index: int) -> None:
    """Search pairs towards a target just above the bound, or above what the last layer's was."""
    problem, answer = work.tasks[index][0], work.answers[index]
    if not fits_pairs(problem) or not work.settings.wants(problem, answer):
        return
    bound = max(answer.bound.value, problem.mean * (work.last_ratio or 0))
    if float(answer.load) > float(bound) * _ABOVE_BOUND:
        target = float(bound) * _ABOVE_BOUND
        slots = search_pairs(problem, answer.slots, target=target, steps=_PAIR_STEPS, seed=work.settings.seed)
        work.improve(index, slots)


def _search_from(work: _Work, index: int, copies: Sequence[int]) -> None:
    """Pack the suggested numbers of replicas and improve the packing by a short search."""
    from solver.placement.local_search import BatchSearch

    problem = work.tasks[index][0]
    slots = pack_copies(problem, copies)
    if slots is None:
        return
    batch = BatchSearch([problem], [slots], seed=work.settings.seed)
    batch.run([0], steps=_STEPS)
    work.improve(index, batch.placement(0))
