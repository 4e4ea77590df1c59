r"""Exactly S stages that all run one option: the best cut of the layers, by exact dynamic programming.

With one option on every stage the sum of the stage times does not depend on the cut, so TTFT is lowest where
the slowest stage is fastest: :math:`f_s(j) = \min_i \max(f_{s-1}(i), c(i, j))` over cuts within every cap.
A path row of limit T then allows stages of at most :math:`(T - \sum c) / (microbatches - 1)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.deployment.chains import Chain, StageChoice, path_cost
from shardproof.formulations.deployment.tables import Case, Path, Program
from shardproof.solver.search.costs import Costs

MOST_CASES = 4000
NEVER = 1 << 60


def best_chain(program: Program, *, layouts: tuple[int, ...], options: tuple[int, ...], stages: int) -> Chain | None:
    """Return the chain of exactly ``stages`` stages with the lowest first TTFT row, ``None`` if none fits.

    Raises
    ------
    OverflowError
        If the program has more cases than are tried one by one.
    """
    best: tuple[int, Chain] | None = None
    for layout in layouts:
        axes = program.layouts[layout].axes
        cases = product(*(range(len(axis.choices)) for axis in axes))
        for tried, choices in enumerate(cases):
            if tried >= MOST_CASES:
                raise OverflowError("too many microbatch sizes to try one by one")
            case = Case(program.layouts[layout], choices)
            for option in set(options) & set(case.allowed(program)):
                found = _cut(program, case, option, stages)
                if found is not None and (best is None or found[0] < best[0]):
                    best = found[0], Chain(layout=layout, choices=choices, stages=found[1])
    return None if best is None else best[1]


def _cut(program: Program, case: Case, option: int, stages: int) -> tuple[int, tuple[StageChoice, ...]] | None:
    layers = len(program.kinds)
    inside = case.layout.max_gpus
    if stages > layers or (inside is not None and stages * program.options[option].gpus > inside):
        return None
    allowed = np.triu(np.ones((layers + 1, layers + 1), dtype=bool), 1)
    for cap in case.caps:
        allowed &= Costs.of(program, cap.table, [option]).matrix(0) <= cap.limit
    probe = tuple(StageChoice(index, index + 1 if index + 1 < stages else layers, option) for index in range(stages))
    for path in case.paths:
        allowed &= _path_allows(program, path, option, probe)
    objective = next((path for path in case.paths if path.ttft), None)
    costs = (
        Costs.of(program, objective.table, [option]).matrix(0) if objective else np.zeros_like(allowed, dtype=np.int64)
    )
    ends = _walk(np.where(allowed, costs, NEVER), stages)
    if ends is None:
        return None
    chain = tuple(StageChoice(start, stop, option) for start, stop in ends)
    value = path_cost(program, objective, chain) if objective else 0
    kept = all(path.limit is None or path_cost(program, path, chain) <= path.limit for path in case.paths)
    return (value, chain) if kept else None


def _path_allows(program: Program, path: Path, option: int, probe: tuple[StageChoice, ...]) -> NDArray[np.bool_]:
    """Stages that a path row's limit allows, given the sum that every cut has."""
    matrix = Costs.of(program, path.table, [option]).matrix(0)
    if path.limit is None or path.microbatches < 1:
        return np.ones_like(matrix, dtype=bool)
    slowest = max(matrix[stage.start, stage.stop] for stage in probe)
    total = path_cost(program, path, probe) - (path.microbatches - 1) * int(slowest)
    left = path.limit - total
    if left < 0:
        return np.zeros_like(matrix, dtype=bool)
    most = NEVER if path.microbatches == 1 else left // (path.microbatches - 1)
    return matrix <= most


def _walk(costs: NDArray[np.int64], stages: int) -> list[tuple[int, int]] | None:
    """Minimise the largest cost over cuts into ``stages`` parts."""
    size = costs.shape[0]
    reached = np.full(size, NEVER, dtype=np.int64)
    reached[0] = -1
    came_from = []
    for _ in range(stages):
        candidates = np.maximum(reached[:, None], costs)
        came_from.append(candidates.argmin(axis=0))
        reached = candidates.min(axis=0)
    if reached[-1] >= NEVER:
        return None
    return list(_trace(came_from, size - 1))


def _trace(came_from: list[NDArray[np.intp]], end: int) -> Iterator[tuple[int, int]]:
    bounds = [end]
    for row in reversed(came_from):
        bounds.append(int(row[bounds[-1]]))
    bounds.reverse()
    yield from pairwise(bounds)
