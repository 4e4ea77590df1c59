"""What is left of a fleet when replicas or nodes are gone: every choice of so many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

Counts = tuple[int, ...]


def without_replicas(counts: Sequence[int], gone: int) -> list[Counts]:
    """Return what is left when any ``gone`` replicas are (or all, where there are no more)."""
    alike = [tuple(int(at == place) for place in range(len(counts))) for at in range(len(counts))]
    return _left(counts, [one for one, count in zip(alike, counts, strict=True) for _ in range(count)], gone)


def without_nodes(counts: Sequence[int], nodes: Sequence[Sequence[int]], gone: int) -> list[Counts]:
    """Return what is left when any ``gone`` nodes are; ``nodes``: replicas of each group that each of them takes along.

    A wide replica stands in several nodes and is gone with any of them.
    """
    return _left(counts, [tuple(node) for node in nodes], gone)


def _left(counts: Sequence[int], parts: Sequence[Counts], gone: int) -> list[Counts]:
    there = Counter(parts)
    found = set()
    for lost in _chosen(there, min(gone, len(parts))):
        sums = (sum(column) for column in zip(*lost, strict=True)) if lost else (0,) * len(counts)
        found.add(tuple(max(0, count - less) for count, less in zip(counts, sums, strict=True)))
    return sorted(found)


def _chosen(there: Counter[Counts], number: int) -> Iterator[tuple[Counts, ...]]:
    """Yield every choice of so many parts, alike ones counted once."""
    for lost in combinations_with_replacement(sorted(there), number):
        if all(count <= there[part] for part, count in Counter(lost).items()):
            yield lost


def worst(worth: Sequence[int], counts: Sequence[int], gone: int) -> tuple[tuple[int, int], ...]:
    """Return the most worth that ``gone`` of these replicas have: (kind, how many), the first of equals."""
    found, left = [], gone
    for place in sorted(range(len(worth)), key=lambda place: (-worth[place], place)):
        taken = min(left, counts[place])
        if taken and worth[place]:
            found.append((place, taken))
            left -= taken
        if not left:
            break
    return tuple(sorted(found))
