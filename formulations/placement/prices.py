r"""prices: a largest rank load below T is impossible, shown by putting a price on every size of replica.

Cut [0, T) into K cells; a replica of weight x lies in cell :math:`\lfloor x K / T \rfloor` and has that
cell's price :math:`\pi \ge 0`. On a rank that carries less than T the cells of at most s replicas add up to
at most K - 1, so its prices add up to at most

.. math:: P = \max \{ \sum_i \pi_{k_i} : \sum_i k_i \le K - 1,\ \text{at most } s \text{ replicas} \}.

Expert e in c copies costs c prices and takes c of S slots. With :math:`\mu` per slot, every placement pays

.. math:: \sum_e \min_c c (\pi_{\lfloor w_e K / (c T) \rfloor} + \mu) - \mu S,

over all c with w_e / c < T. If that exceeds R P, no placement stays below T. (Linear-programming duality
of the cutting-stock master; Gilmore and Gomory 1961.) All numbers are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from shardproof.formulations.placement.bounds import PriceList
from shardproof.formulations.placement.problem import LayerProblem


def prices_refute(problem: LayerProblem, loads: Sequence[int], target: Fraction, price_list: PriceList) -> bool:
    """Say whether the prices prove that no even-split placement stays below ``target``."""
    prices, cells = price_list.prices, price_list.cells
    if len(prices) != cells or min(prices) < 0 or target <= 0:
        return False
    paid = cheapest_placement(problem, loads, target, price_list)
    return paid is None or paid > problem.ranks * dearest_rank(prices, cells=cells, width=problem.width)


def cheapest_placement(
    problem: LayerProblem, loads: Sequence[int], target: Fraction, price_list: PriceList
) -> int | None:
    """Return the least total price of all replicas; ``None`` if some expert cannot stay below ``target``."""
    paid = -price_list.slot_price * problem.filled
    for load in loads:
        costs = [
            copies * (price_list.prices[cell] + price_list.slot_price)
            for copies in range(1, problem.most_copies + 1)
            if (cell := cell_of(load, copies, target, price_list.cells)) < price_list.cells
        ]
        if not costs:
            return None
        paid += min(costs)
    return paid


def cell_of(load: int, copies: int, target: Fraction, cells: int) -> int:
    """Return the cell of a replica that weighs ``load / copies``; ``cells`` or more: too heavy."""
    return load * cells * target.denominator // (copies * target.numerator)


def dearest_rank(prices: Sequence[int], *, cells: int, width: int) -> int:
    """Return the most that at most ``width`` replicas of total cell ``cells - 1`` can cost.

    A replica that costs no more than a smaller one is never needed.
    """
    steps: list[tuple[int, int]] = []
    for cell, price in enumerate(prices):
        if price > (steps[-1][1] if steps else 0):
            steps.append((cell, price))
    best = [0] * cells
    for _ in range(width):
        longer = best[:]
        for cell, price in steps:
            dearer = [paid + price for paid in best[: cells - cell]]
            longer[cell:] = map(max, longer[cell:], dearer)
        best = longer
    return best[cells - 1]
