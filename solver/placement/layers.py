"""Place many layers of equal shape: greedy start, batched search, sharper bounds where a gap is left.

The time goes where the gap is largest: every round advances the half of the open layers with the largest
gaps, and bounds are sharpened largest gap first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from shardproof.formulations.placement.bounds import simple_bound
from shardproof.formulations.placement.check import largest_even_load
from shardproof.formulations.placement.problem import LayerProblem, Slots
from shardproof.instances.clock import check_time
from shardproof.solver.placement.greedy import greedy_slots
from shardproof.solver.placement.work import LayerAnswer, PlaceSettings, Task

_FIRST_PATIENCE = 8
"""Rounds that hardly close the gaps after which the first search makes room for sharper bounds."""


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
    check_time()
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


def _cut(problems: Sequence[LayerProblem], begun: Sequence[LayerAnswer], chunk: Sequence[int]) -> list[Task]:
    return [(problems[index], begun[index]) for index in chunk]


def _improve_for(tasks: list[Task], settings: PlaceSettings, seconds: float) -> list[LayerAnswer]:
    return _improve_chunk(tasks, settings, time.monotonic() + seconds)


def _improve_chunk(tasks: list[Task], settings: PlaceSettings, deadline: float) -> list[LayerAnswer]:
    """Prove tiny layers; search; prove small ones; sharpen bounds; search on. Bound by effort: search only."""
    from shardproof.solver.placement.sharpen import SMALL, TINY, prove_small, sharpen_bounds
    from shardproof.solver.placement.work import Work

    work = Work(tasks, settings)
    if settings.effort is not None:
        work.search(until=math.inf)
        return work.answers
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
