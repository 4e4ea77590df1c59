"""Exhaustive search over replica counts and packings, for small layers: shares no code with the solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import lcm


def least_largest_load(
    loads: Sequence[int], *, ranks: int, width: int, redundant: int, distinct: bool = False
) -> Fraction:
    """Return the optimum of one layer under the even split; ``ranks * width`` may exceed the replicas."""
    scale = lcm(*range(1, redundant + 2))
    best = sum(loads) * scale + 1
    for copies in _counts(len(loads), redundant):
        if distinct and max(copies) > ranks:
            continue
        items = sorted(
            ((load * scale // count, expert) for expert, (load, count) in enumerate(zip(loads, copies, strict=True))
             for _ in range(count)),
            reverse=True,
        )  # fmt: skip
        best = min(best, _pack(items, ranks, width, best, distinct=distinct))
    return Fraction(best, scale)


def _counts(experts: int, redundant: int) -> Iterator[tuple[int, ...]]:
    if experts == 1:
        yield (1 + redundant,)
        return
    for extra in range(redundant + 1):
        for rest in _counts(experts - 1, redundant - extra):
            yield (1 + extra, *rest)


def _pack(items: list[tuple[int, int]], ranks: int, width: int, best: int, *, distinct: bool) -> int:
    """Try every rank for every item; skip ranks that look the same and loads that cannot improve."""
    loads, held = [0] * ranks, [[] for _ in range(ranks)]  # type: tuple[list[int], list[list[int]]]

    def descend(at: int, best: int) -> int:
        if at == len(items):
            return max(loads)
        weight, expert = items[at]
        seen = set()
        for rank in range(ranks):
            look = (loads[rank], len(held[rank]), expert in held[rank])
            if len(held[rank]) == width or loads[rank] + weight >= best or (look in seen and not distinct):
                continue
            if distinct and expert in held[rank]:
                continue
            seen.add(look)
            loads[rank] += weight
            held[rank].append(expert)
            best = min(best, descend(at + 1, best))
            loads[rank] -= weight
            held[rank].pop()
        return best

    return descend(0, best)
