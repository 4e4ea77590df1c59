"""Place many layers of equal shape: greedy start, batched search, sharper bounds where a gap is left.

The time goes where the gap is largest: every round advances the half of the open layers with the largest
gaps, and bounds are sharpened largest gap first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from multiprocessing import get_context
from typing import TYPE_CHECKING

from shardproof.formulations.placement.bounds import LowerBound, simple_bound
from shardproof.formulations.placement.check import largest_even_load
from shardproof.formulations.placement.problem import LayerProblem, Slots
from shardproof.solver.placement.greedy import greedy_slots

if TYPE_CHECKING:
    from shardproof.solver.placement.sharpen import Learnt

_STEPS = 40
"""Steps of the batched search between two looks at the clock."""

_SMALLEST_ROUND = 16
_MOST_SWAPS = 8_000_000
"""Swaps that one step looks at: some 64 MB for each of a few tables."""

_PATIENCE = 60
"""Rounds without any progress after which the search alone is given up."""

_FIRST_PATIENCE = 8
"""Rounds that hardly close the gaps after which the first search makes room for sharper bounds."""

_HARDLY = 0.98


@dataclass(frozen=True)
class PlaceSettings:
    """How long to search, from which seed, on how many processes, and the gap that is good enough.

    ``enough``: a largest over mean rank load at which a layer needs no more; ``sharpen``: whether gaps
    that search leaves are attacked with CP-SAT and better bounds.
    """

    time_limit: float = 60.0
    seed: int = 0
    workers: int = 1
    target_gap: float = 0.001
    enough: Fraction | None = None
    sharpen: bool = True

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


def place_layers(
    problems: Sequence[LayerProblem],
    settings: PlaceSettings,
    *,
    starts: Sequence[Slots] | None = None,
) -> list[LayerAnswer]:
    """Place layers of equal shape; equal layers are placed once.

    No answer is worse than its start (by default the greedy's).
    """
    unique = list(dict.fromkeys(problems))
    firsts = {problem: index for index, problem in reversed(list(enumerate(problems)))}
    begun = [_started(problem, starts[firsts[problem]] if starts else greedy_slots(problem)) for problem in unique]
    deadline = time.monotonic() + settings.time_limit
    answers = _improved(unique, begun, settings, deadline=deadline)
    found = dict(zip(unique, answers, strict=True))
    return [found[problem] for problem in problems]


def _started(problem: LayerProblem, slots: Slots) -> LayerAnswer:
    return LayerAnswer(slots=slots, load=largest_even_load(problem, slots), bound=simple_bound(problem))


def _improved(
    problems: Sequence[LayerProblem],
    begun: Sequence[LayerAnswer],
    settings: PlaceSettings,
    *,
    deadline: float,
) -> list[LayerAnswer]:
    open_layers = [
        index
        for index, (problem, answer) in enumerate(zip(problems, begun, strict=True))
        if settings.wants(problem, answer)
    ]
    answers = list(begun)
    workers = min(settings.workers, len(open_layers) // 4)
    if workers <= 1:
        chunks = [open_layers] if open_layers else []
        improved = [_improve_chunk(_cut(problems, begun, chunk), settings, deadline) for chunk in chunks]
    else:
        chunks = [open_layers[number::workers] for number in range(workers)]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            seconds = deadline - time.monotonic()
            waiting = [pool.submit(_improve_for, _cut(problems, begun, chunk), settings, seconds) for chunk in chunks]
            improved = [task.result() for task in waiting]
    for chunk, found in zip(chunks, improved, strict=True):
        for index, answer in zip(chunk, found, strict=True):
            answers[index] = answer
    return answers


Task = tuple[LayerProblem, LayerAnswer]


def _cut(problems: Sequence[LayerProblem], begun: Sequence[LayerAnswer], chunk: Sequence[int]) -> list[Task]:
    return [(problems[index], begun[index]) for index in chunk]


def _improve_for(tasks: list[Task], settings: PlaceSettings, seconds: float) -> list[LayerAnswer]:
    return _improve_chunk(tasks, settings, time.monotonic() + seconds)


def _improve_chunk(tasks: list[Task], settings: PlaceSettings, deadline: float) -> list[LayerAnswer]:
    """Prove tiny layers; search; prove small ones; sharpen bounds; search on."""
    from shardproof.solver.placement.sharpen import SMALL, TINY, prove_small, sharpen_bounds

    work = _Work(tasks, settings)
    start = time.monotonic()
    total = max(deadline - start, 0.0)
    if settings.sharpen:
        prove_small(work, largest=TINY, until=start + 0.5 * total)
    work.search(until=start + 0.3 * total, patience=_FIRST_PATIENCE)
    if settings.sharpen:
        prove_small(work, largest=SMALL, until=start + 0.45 * total)
        sharpen_bounds(work, until=start + 0.9 * total)
    work.search(until=deadline)
    return work.answers


@dataclass
class _Work:
    """The layers in hand; ``answers`` only ever get better."""

    tasks: list[Task]
    settings: PlaceSettings
    answers: list[LayerAnswer] = field(init=False)
    last: Learnt | None = None

    def __post_init__(self) -> None:
        from shardproof.solver.placement.local_search import BatchSearch

        self.answers = [answer for _, answer in self.tasks]
        self.batch = BatchSearch(
            [problem for problem, _ in self.tasks],
            [answer.slots for answer in self.answers],
            seed=self.settings.seed,
        )

    @property
    def most_at_once(self) -> int:
        """How many layers' tables of swaps fit in memory together."""
        problem = self.tasks[0][0]
        return max(1, _MOST_SWAPS // (problem.ranks * problem.width**2 * len(problem.loads)))

    def open(self) -> list[int]:
        """Return the layers whose gap is not good enough yet, largest gap first."""
        waiting = [
            (answer.gap, index)
            for index, ((problem, _), answer) in enumerate(zip(self.tasks, self.answers, strict=True))
            if self.settings.wants(problem, answer)
        ]
        return [index for _, index in sorted(waiting, reverse=True)]

    def search(self, *, until: float, patience: int = _PATIENCE) -> None:
        """Run rounds of the batched search until all gaps are small, time is up or hardly anything moves."""
        idle, reference = 0, float("inf")
        while time.monotonic() < until and idle < patience and (waiting := self.open()):
            chosen = waiting[: max(_SMALLEST_ROUND, (len(waiting) + 1) // 2)][: self.most_at_once]
            self.batch.run(chosen, steps=_STEPS)
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
            if self.batch.best_load[index] < float(self.answers[index].load) * (1 - 1e-9):
                self.improve(index, self.batch.placement(index))
