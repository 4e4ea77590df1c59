"""Close the gaps that search leaves: prove small layers with CP-SAT, raise bounds with prices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from shardproof.formulations.placement.bounds import LowerBound
from shardproof.formulations.placement.check import count_replicas
from shardproof.formulations.placement.prices import cheapest_placement, dearest_rank
from shardproof.solver.placement.greedy import pack_copies
from shardproof.solver.placement.pairs import fits_pairs, search_pairs
from shardproof.solver.placement.work import Learnt, Work

if TYPE_CHECKING:
    from shardproof.formulations.placement.problem import LayerProblem, Slots

_HALVINGS = 6
_STEPS = 600
"""Steps of the search that starts from suggested numbers of replicas."""

_PAIR_STEPS = 400
_ABOVE_BOUND = 1.003

TINY, SMALL = 600, 3000
"""Variables up to which a layer is handed to CP-SAT, before and after the search."""


_SHARES = tuple(Fraction(share, 1000) for share in (1005, 1002, 1000, 998, 995, 990, 980, 960))
"""Targets to try, as shares of what the last layer's bound suggests; the second and third frame it."""

_FIRST_TURN = 0.3
"""Part of the time that the first layer may take: the others learn from it."""


def prove_small(work: Work, *, largest: int, until: float) -> None:
    """Solve small layers to proven optimality; the best placement so far is the hint."""
    from shardproof.formulations.placement.program import program_size, solve_layer

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


def sharpen_bounds(work: Work, *, until: float) -> None:
    """Raise the bounds of open layers by prices, largest gap first, each within an equal part of the time.

    Layers of one model are alike: what the first one taught is tried on all others before they get turns
    of their own.
    """
    _pair_up_all(work, work.open(), until=until)
    first, began = work.open()[:1], time.monotonic()
    for index in first:
        _take_turn(work, index, until=min(until, time.monotonic() + _FIRST_TURN * (until - time.monotonic())))
    needed = time.monotonic() - began  # a turn cut short proves nothing: later ones get at least as long
    for index in work.open():
        reuse_prices(work, index)
    if first and time.monotonic() < until:
        _follow(work, first[0], work.open())
    _pair_up_all(work, work.open(), until=until)
    waiting = [index for index in work.open() if index not in first]
    for number, index in enumerate(waiting):
        left = until - time.monotonic()
        if left <= 0:
            return
        turn = max(needed, 2 * left / (len(waiting) - number + 1))
        _take_turn(work, index, until=min(until, time.monotonic() + turn))


def _take_turn(work: Work, index: int, *, until: float) -> None:
    for profile in range(len(work.tasks[index][0].loads)):
        _raise_by_prices(work, index, profile, until=until)
    _pair_up(work, index)


def _pair_up_all(work: Work, indices: Sequence[int], *, until: float) -> None:
    for index in indices:
        if time.monotonic() < until:
            _pair_up(work, index)


def reuse_prices(work: Work, index: int) -> None:
    """Try the last prices on another layer, at targets around the last layer's share of its mean load."""
    last, problem = work.last, work.tasks[index][0]
    if last is None or problem.split != "even":
        return
    for profile, loads in enumerate(problem.loads):
        mean = Fraction(sum(loads), problem.ranks)
        for share in _SHARES:
            target = mean * last.ratio * share
            if target <= work.answers[index].bound.value:
                break
            paid = cheapest_placement(problem, loads, target, last.prices)
            if paid is None or paid > problem.ranks * last.dearest:
                work.raise_bound(index, LowerBound(target, "prices", profile, last.prices))
                break


def _follow(work: Work, leader: int, followers: Sequence[int]) -> None:
    """Search from the leader's numbers of replicas: the n-th heaviest expert gets as many as its n-th."""
    from shardproof.solver.placement.local_search import BatchSearch

    replicas = count_replicas(work.answers[leader].slots)
    pattern = [replicas[expert] for expert in _by_load(work.tasks[leader][0])]
    starts: dict[int, Slots] = {}
    for index in followers:
        problem = work.tasks[index][0]
        copies = dict(zip(_by_load(problem), pattern, strict=True))
        packed = pack_copies(problem, [copies[expert] for expert in range(problem.experts)])
        if packed is not None:
            starts[index] = packed
    if starts:
        batch = BatchSearch([work.tasks[index][0] for index in starts], list(starts.values()), seed=work.settings.seed)
        for start in range(0, len(starts), work.most_at_once):
            batch.run(range(start, min(start + work.most_at_once, len(starts))), steps=_STEPS)
        for place, index in enumerate(starts):
            work.improve(index, batch.placement(place))


def _by_load(problem: LayerProblem) -> list[int]:
    """Return the experts, heaviest first."""
    loads = [sum(column) for column in zip(*problem.loads, strict=True)]
    return sorted(range(problem.experts), key=lambda expert: -loads[expert])


def _raise_by_prices(work: Work, index: int, profile: int, *, until: float) -> None:
    """Look for the largest target that prices refute, between the bound and the load that was reached.

    A target that they do not refute suggests numbers of replicas, from which the search starts anew.
    """
    from shardproof.formulations.placement.price_program import ask_prices

    problem = work.tasks[index][0]
    loads = problem.loads[profile]
    low, high = work.answers[index].bound.value, work.answers[index].load
    mean = Fraction(sum(loads), problem.ranks)
    guesses = [] if work.last is None else [mean * work.last.ratio * share for share in _SHARES[1:3]]
    target = high * Fraction(998, 1000)
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
    bound = work.answers[index].bound
    if bound.prices is not None and bound.profile == profile:
        dearest = dearest_rank(bound.prices.prices, cells=bound.prices.cells, width=problem.width)
        work.last = Learnt(bound.prices, dearest, bound.value / mean)


def _pair_up(work: Work, index: int) -> None:
    """Search pairs towards a target just above the bound, or above what the last layer's was."""
    problem, answer = work.tasks[index][0], work.answers[index]
    if not fits_pairs(problem) or not work.settings.wants(problem, answer):
        return
    bound = max(answer.bound.value, problem.mean * (work.last.ratio if work.last else 0))
    if float(answer.load) > float(bound) * _ABOVE_BOUND:
        target = float(bound) * _ABOVE_BOUND
        slots = search_pairs(problem, answer.slots, target=target, steps=_PAIR_STEPS, seed=work.settings.seed)
        work.improve(index, slots)


def _search_from(work: Work, index: int, copies: Sequence[int]) -> None:
    """Pack the suggested numbers of replicas and improve the packing by a short search."""
    from shardproof.solver.placement.local_search import BatchSearch

    problem = work.tasks[index][0]
    slots = pack_copies(problem, copies)
    if slots is None:
        return
    batch = BatchSearch([problem], [slots], seed=work.settings.seed)
    batch.run([0], steps=_STEPS)
    work.improve(index, batch.placement(0))
