"""Least sums under one option by the fewest stages are those of the table over layers and GPUs."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from shardproof.solver.search.costs import Costs
from shardproof.solver.search.least_sums import NEVER, Cheapest, bands, cheapest_alone, least_sums


def random_costs(random: Random) -> Costs:
    kinds, layers = random.randint(1, 3), random.randint(1, 14)

    def cells(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        size = int(np.prod(shape))
        return np.array([random.randint(0, 9) for _ in range(size)], dtype=np.int64).reshape(shape)

    order = np.array([random.randrange(kinds) for _ in range(layers)])
    return Costs(cells(1), cells(1), cells(1), cells(1), cells(1, kinds), order)


@pytest.mark.parametrize("seed", range(300))
def test_one_option_needs_no_table_to_be_built(seed: int) -> None:
    random = Random(f"alone {seed}")
    costs, limits = random_costs(random), random_costs(random)
    if len(limits.kinds) != len(costs.kinds):
        limits = costs
    width, budget = random.choice((1, 2, 3)), random.randint(1, 12)
    far = limits.furthest(random.randint(0, 60))
    layers = len(costs.kinds)
    found = bands([width], far, costs.before, costs.after)
    table = Cheapest([7], least_sums(found, budget=budget, layers=layers), found)
    alone = cheapest_alone(7, width, far[0], costs.before[0], costs.after[0], budget=budget)
    assert alone.table.tolist() == table.table.tolist()
    rest = np.zeros(layers + 1, dtype=np.int64)
    limit = random.randint(0, 99)
    assert alone.label_rows(rest, limit) == table.label_rows(rest, limit)
    if alone.total < NEVER:
        stages = alone.chain()
        assert [stage.start for stage in stages] == [0, *(stage.stop for stage in stages)][:-1]
        assert (stages[-1].stop, len(stages) * width <= budget) == (layers, True)
        assert all(stage.stop <= far[0][stage.start] and stage.option == 7 for stage in stages)
        spent = sum(int(costs.after[0, stage.stop] - costs.before[0, stage.start]) for stage in stages)
        assert spent == alone.total
