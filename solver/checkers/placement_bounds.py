"""The bounds of a placement certificate, recomputed by `shardproof.solver.checkers.placement` (standard library only).

Each function returns the largest value that its argument proves. The arguments are described in
`shardproof.formulations.placement.bounds` and `shardproof.formulations.placement.prices`; this is a
second implementation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import Any

_MOST_CELLS = 100_000


@dataclass(frozen=True)
class Shape:
    """The rules of a certificate."""

    ranks: int
    replicas: int
    width: int
    split: str
    distinct: bool
    groups: int | None
    nodes: int

    @property
    def full(self) -> bool:
        """Whether every slot holds a replica."""
        return self.replicas == self.ranks * self.width


def proven_bound(shape: Shape, loads: list[list[int]], bound: dict[str, Any]) -> Fraction | None:
    """Return what a bound's argument proves; ``None`` if it does not apply."""
    argument, profile = bound["argument"], loads[bound["profile"]]
    if argument == "nodes":
        return _over_partitions(shape, loads)
    if argument == "prices":
        value = _value(bound)
        return value if shape.split == "even" and _prices_hold(shape, profile, value, bound["prices"]) else None
    found = dict(_simple(shape, profile))
    return found.get(argument)


def best_bound(shape: Shape, loads: list[list[int]]) -> Fraction:
    """Return the best bound that needs no argument beside the problem."""
    found = [value for profile in loads for _, value in _simple(shape, profile)]
    return max([*found, _over_partitions(shape, loads) or Fraction(0)])


def _value(bound: dict[str, Any]) -> Fraction:
    numerator, denominator = bound["value"].split("/")
    return Fraction(int(numerator), int(denominator))


def _simple(shape: Shape, loads: list[int]) -> Iterator[tuple[str, Fraction]]:
    heaviest = _heaviest_replica(shape, loads)
    yield "average", Fraction(sum(loads), shape.ranks)
    yield "replicas", heaviest
    if shape.split == "even" and shape.full:
        extra = shape.replicas - len(loads)
        replicas = sorted(Fraction(load, extra + 1) for load in loads for _ in range(extra + 1))
        yield "company", heaviest + sum(replicas[: shape.width - 1], Fraction(0))
        if not extra:
            yield "crowd", _crowd(shape, loads)


def _heaviest_replica(shape: Shape, loads: list[int]) -> Fraction:
    """Return the least value v such that replicas of at most v need no more slots than there are."""
    most = shape.replicas - len(loads) + 1
    if shape.distinct:
        most = min(most, shape.ranks)
    values = sorted({Fraction(load, copies) for load in loads for copies in range(1, most + 1)})
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if _slots_for(values[middle], loads, most) <= shape.replicas:
            high = middle
        else:
            low = middle + 1
    return values[low]


def _slots_for(value: Fraction, loads: list[int], most: int) -> int:
    """Return the slots that replicas of at most ``value`` need; more than exist if an expert cannot."""
    total = 0
    for load in loads:
        copies = max(1, -(-load * value.denominator // value.numerator)) if value else (1 if not load else most + 1)
        if copies > most:
            return sum(loads) + len(loads) * (most + 1)
        total += copies
    return total


def _crowd(shape: Shape, loads: list[int]) -> Fraction:
    ordered, best = sorted(loads), Fraction(0)
    others = shape.width - 1
    for k in range(1, min(shape.ranks, len(loads)) + 1):
        heavy = ordered[len(ordered) - k :]
        case = Fraction(sum(heavy) + sum(ordered[: others * k]), k)
        if k > 1 and others:
            case = min(case, Fraction(heavy[0] + heavy[1] + sum(ordered[: others - 1])))
        best = max(best, case)
    return best


def _prices_hold(shape: Shape, loads: list[int], target: Fraction, prices: dict[str, Any]) -> bool:
    """Say whether the prices refute every largest rank load below ``target``."""
    cells, slot_price = int(prices["cells"]), int(prices["slot_price"])
    listed = {int(cell): int(price) for cell, price in prices["prices"]}
    if not 0 < cells <= _MOST_CELLS or target <= 0:
        return False
    if any(not 0 <= cell < cells or price < 0 for cell, price in listed.items()):
        return False
    price_of, latest = [], 0
    for cell in range(cells):
        latest = listed.get(cell, latest)
        price_of.append(latest)
    most = shape.replicas - len(loads) + 1
    if shape.distinct:
        most = min(most, shape.ranks)
    paid = -slot_price * shape.replicas
    for load in loads:
        costs = []
        for copies in range(1, most + 1):
            cell = load * cells * target.denominator // (copies * target.numerator)
            if cell < cells:
                costs.append(copies * (price_of[cell] + slot_price))
        if not costs:
            return True
        paid += min(costs)
    return paid > shape.ranks * _dearest(_undominated(dict(enumerate(price_of))), cells, shape.width)


def _dearest(listed: dict[int, int], cells: int, width: int) -> int:
    """Return the most that at most ``width`` replicas cost whose cells add up to less than ``cells``."""
    best = {0: 0}
    for _ in range(width):
        longer = dict(best)
        for used, paid in best.items():
            for cell, price in listed.items():
                total = used + cell
                if total < cells and longer.get(total, -1) < paid + price:
                    longer[total] = paid + price
        best = _undominated(longer)
    return max(best.values())


def _undominated(totals: dict[int, int]) -> dict[int, int]:
    """Drop what costs no more than something of a smaller total: it can never lead to a dearer rank."""
    kept: dict[int, int] = {}
    dearest = -1
    for total in sorted(totals):
        if totals[total] > dearest:
            dearest = totals[total]
            kept[total] = dearest
    return kept


def _over_partitions(shape: Shape, loads: list[list[int]]) -> Fraction | None:
    """Return the least, over all ways to put groups on nodes, of the largest bound of a node."""
    if shape.groups is None:
        return None
    node = replace(
        shape,
        ranks=shape.ranks // shape.nodes,
        replicas=shape.replicas // shape.nodes,
        groups=None,
        nodes=1,
    )
    size, known, least = len(loads[0]) // shape.groups, dict[tuple[int, ...], Fraction](), None
    for partition in _partitions(tuple(range(shape.groups)), shape.groups // shape.nodes):
        for part in partition:
            if part not in known:
                known[part] = max(
                    value
                    for profile in loads
                    for _, value in _simple(node, [profile[g * size + i] for g in part for i in range(size)])
                )
        reached = max(known[part] for part in partition)
        least = reached if least is None else min(least, reached)
    return least


def _partitions(left: tuple[int, ...], size: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not left:
        yield ()
        return
    for others in combinations(left[1:], size - 1):
        part = (left[0], *others)
        for rest in _partitions(tuple(group for group in left if group not in part), size):
            yield (part, *rest)
