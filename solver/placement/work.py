"""Layer problems in hand: settings, what each has reached so far, and the rounds of search that better it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from shardproof.formulations.placement.bounds import LowerBound, PriceList
from shardproof.formulations.placement.check import largest_even_load
from shardproof.formulations.placement.problem import LayerProblem, Slots
from shardproof.instances.clock import check_time

_STEPS = 40
"""Steps of the batched search between two looks at the clock."""

_SMALLEST_ROUND = 16
_MOST_SWAPS = 8_000_000
"""Swaps that one step looks at: some 64 MB for each of a few tables."""

_STEP_OVERHEAD = 1_000
"""Swaps in whose time a step does all else that it does (measured: 1e-5 s, and 1e-8 s for each swap)."""

_PATIENCE = 60
"""Rounds without any progress after which the search alone is given up."""

_HARDLY = 0.98
"""Share of the summed gaps above which a round counts as without progress."""


@dataclass(frozen=True)
class PlaceSettings:
    """How long to search, from which seed, on how many processes, and the gap that is good enough.

    ``enough``: a largest over mean rank load at which a layer needs no more; ``sharpen``: whether gaps
    that search leaves are attacked with CP-SAT and better bounds; ``effort``: swaps to look at in the search
    alone, whatever the clock says, so that equal questions get equal answers (``None``: as ``time_limit`` allows).
    """

    time_limit: float = 60.0
    seed: int = 0
    workers: int = 1
    target_gap: float = 0.001
    enough: Fraction | None = None
    sharpen: bool = True
    effort: int | None = None

    def wants(self, problem: LayerProblem, answer: LayerAnswer) -> bool:
        """Say whether a layer deserves more time."""
        if self.enough is not None and answer.load <= self.enough * problem.mean:
            return False
        return answer.gap > self.target_gap


@dataclass(frozen=True)
class LayerAnswer:
    """The placement and the bound found for one layer problem."""

    slots: Slots
    load: Fraction
    bound: LowerBound

    @property
    def gap(self) -> float:
        """Excess over the bound, as a share of the bound."""
        return float(self.load / self.bound.value - 1) if self.bound.value else 0.0


Task = tuple[LayerProblem, LayerAnswer]


@dataclass(frozen=True)
class Learnt:
    """Prices of a layer, the dearest rank under them, and its bound over its mean load."""

    prices: PriceList
    dearest: int
    ratio: Fraction


@dataclass
class Work:
    """The layers in hand; ``answers`` only ever get better."""

    tasks: list[Task]
    settings: PlaceSettings
    answers: list[LayerAnswer] = field(init=False)
    last: Learnt | None = None
    spent: int = 0

    def __post_init__(self) -> None:
        from shardproof.solver.placement.local_search import BatchSearch

        self.answers = [answer for _, answer in self.tasks]
        self.batch = BatchSearch(
            [problem for problem, _ in self.tasks],
            [answer.slots for answer in self.answers],
            seed=self.settings.seed,
        )

    @property
    def swaps(self) -> int:
        """Swaps that one step of one layer looks at."""
        problem = self.tasks[0][0]
        return problem.ranks * problem.width**2 * len(problem.loads)

    @property
    def most_at_once(self) -> int:
        """How many layers' tables of swaps fit in memory together."""
        return max(1, _MOST_SWAPS // self.swaps)

    @property
    def exhausted(self) -> bool:
        """Whether the effort that the settings allow is spent."""
        return self.settings.effort is not None and self.spent >= self.settings.effort

    def open(self) -> list[int]:
        """Return the layers whose gap is not good enough yet, largest gap first."""
        waiting = [
            (answer.gap, index)
            for index, ((problem, _), answer) in enumerate(zip(self.tasks, self.answers, strict=True))
            if self.settings.wants(problem, answer)
        ]
        return [index for _, index in sorted(waiting, reverse=True)]

    def search(self, *, until: float, patience: int = _PATIENCE) -> None:
        """Run rounds of the batched search until gaps are small, time or effort is spent, or hardly anything moves."""
        idle, reference = 0, float("inf")
        while time.monotonic() < until and not self.exhausted and idle < patience and (waiting := self.open()):
            chosen = waiting[: max(_SMALLEST_ROUND, (len(waiting) + 1) // 2)][: self.most_at_once]
            self.batch.run(chosen, steps=_STEPS)
            check_time()
            self.spent += len(chosen) * _STEPS * (_STEP_OVERHEAD + self.swaps)
            self._gather(chosen)
            total = sum(answer.gap for answer in self.answers)
            idle = 0 if total < reference * _HARDLY else idle + 1
            reference = reference if idle else total

    def improve(self, index: int, slots: Slots) -> None:
        """Take a placement of a layer if it is better."""
        load = largest_even_load(self.tasks[index][0], slots)
        if load < self.answers[index].load:
            self.answers[index] = replace(self.answers[index], slots=slots, load=load)

    def raise_bound(self, index: int, bound: LowerBound) -> None:
        """Take a bound of a layer if it is sharper."""
        if bound.value > self.answers[index].bound.value:
            self.answers[index] = replace(self.answers[index], bound=bound)

    def _gather(self, chosen: Sequence[int]) -> None:
        for index in chosen:
            if self.batch.reached(index) < float(self.answers[index].load) * (1 - 1e-9):
                self.improve(index, self.batch.placement(index))
