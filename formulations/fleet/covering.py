r"""Which fleets could carry the whole load, when some loads are known to be too much for some widths.

A `Refused` says that no replica of at most ``gpus`` GPUs carries ``load`` (requests of each scenario). Who carries
more carries less, so a replica of g GPUs carries at most one of the *tops* of g: the maximal vectors below the whole
demand that reach no refused load of ``gpus >= g``. A fleet of widths g_1, g_2, ... can carry the demand only if

.. math:: \exists\, v_j \in tops(g_j): \sum_j v_j \ge demand .

With replicas of one shape alone each carries the same, so no more shapes are in use than different pairs (g, v).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Load = tuple[int, ...]
"""Requests of each scenario."""


@dataclass(frozen=True)
class Refused:
    """No replica of at most ``gpus`` GPUs carries ``load``."""

    gpus: int
    load: Load


@dataclass(frozen=True)
class Item:
    """A kind of replica that nothing known excludes: ``gpus`` GPUs that carry ``load``."""

    gpus: int
    load: Load


def reaches(load: Load, other: Load) -> bool:
    """Whether a load is at least another in every scenario."""
    return all(one >= two for one, two in zip(load, other, strict=True))


def maximal(loads: Iterable[Load]) -> list[Load]:
    """Loads that no other one reaches."""
    kept: list[Load] = []
    for load in sorted(set(loads), reverse=True):
        if not any(reaches(other, load) for other in kept):
            kept.append(load)
    return kept


def tops(demand: Load, refused: Iterable[Load]) -> list[Load]:
    """Maximal loads, at most the demand, that reach none of the refused ones."""
    found = [demand]
    for wall in refused:
        if not any(reaches(load, wall) for load in found):
            continue
        below = (
            (*load[:place], wall[place] - 1, *load[place + 1 :])
            for load in found
            if reaches(load, wall)
            for place in range(len(load))
            if wall[place] > 0
        )
        found = maximal([*(load for load in found if not reaches(load, wall)), *below])
    return [load for load in found if any(load)]


def items(demand: Load, refused: Sequence[Refused], budget: int) -> list[Item]:
    """Every kind of replica within the budget that nothing refused excludes; narrower ones of the same load alone."""
    found: list[Item] = []
    held: list[Load] = []
    edges = sorted({1, *(wall.gpus + 1 for wall in refused)})
    for gpus in (edge for edge in edges if edge <= budget):
        for load in tops(demand, (wall.load for wall in refused if wall.gpus >= gpus)):
            if not any(reaches(other, load) for other in held):
                found.append(Item(gpus, load))
        held = maximal([*held, *(item.load for item in found if item.gpus == gpus)])
    return found


def covered(demand: Load, kinds: Sequence[Item], budget: int, shapes: int | None = None) -> int | None:
    """Fewest GPUs of a fleet of these kinds that carries the demand, at most ``shapes`` different ones.

    ``None``: no such fleet has at most ``budget`` GPUs.
    """
    start = (0,) * len(demand)
    rows = [[[start]] * (budget + 1) for _ in range((shapes or 1) + 1)]
    for item in kinds:
        for count in range(len(rows) - 1, 0, -1):
            before, here = rows[count if shapes is None else count - 1], [*rows[count]]
            used: list[list[Load]] = [[] for _ in here]
            for gpus in range(item.gpus, budget + 1):
                room = gpus - item.gpus
                sums = (_sum(load, item.load, demand) for load in (*before[room], *used[room]))
                used[gpus] = maximal(sums)
                here[gpus] = maximal([*here[gpus], *used[gpus]])
            rows[count] = here
    return next((gpus for gpus in range(budget + 1) if demand in rows[-1][gpus]), None)


def _sum(load: Load, more: Load, most: Load) -> Load:
    return tuple(min(one + two, top) for one, two, top in zip(load, more, most, strict=True))


def trimmed(demand: Load, fleet: Sequence[tuple[int, Item]]) -> tuple[tuple[int, Item], ...]:
    """Lower the loads of a fleet, (replicas, kind) each, to what the demand needs; the largest shares first."""
    loads = [list(kind.load) for _, kind in fleet]
    for place, requests in enumerate(demand):
        spare = sum(count * load[place] for (count, _), load in zip(fleet, loads, strict=True)) - requests
        for index in sorted(range(len(fleet)), key=lambda index: -loads[index][place]):
            less = min(spare // fleet[index][0], loads[index][place])
            loads[index][place] -= less
            spare -= less * fleet[index][0]
    return tuple((count, Item(kind.gpus, tuple(load))) for (count, kind), load in zip(fleet, loads, strict=True))
