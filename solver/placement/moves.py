"""Take back moves: among placements of no larger rank load, one that leaves more experts where they are.

Swapping two replicas changes only the loads of their two ranks. Every swap that brings an expert back to a
rank that held it before, moves nothing else away from home, and keeps both ranks at or below the largest
load is done; loads are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

from shardproof.formulations.placement.check import count_replicas
from shardproof.formulations.placement.problem import NO_EXPERT, LayerProblem, Slots


def take_back_moves(problem: LayerProblem, slots: Slots, before: Slots, *, largest: Fraction, nodes: int = 1) -> Slots:
    """Return a placement with the same replicas and no rank above ``largest`` that moves fewer experts.

    With ``nodes`` over 1, experts are exchanged within their node only.
    """
    work = _Returns(problem, slots, before, largest, nodes)
    while work.improve():
        pass
    return tuple(tuple(held) for held in work.held)


class _Returns:
    """The placement in hand, its exact rank loads, and what every rank holds too much and too little of."""

    def __init__(self, problem: LayerProblem, slots: Slots, before: Slots, largest: Fraction, nodes: int) -> None:
        self.problem, self.largest, self.node_ranks = problem, largest, problem.ranks // nodes
        replicas = count_replicas(slots)
        self.weights = [
            [Fraction(row[expert], max(replicas[expert], 1)) for expert in range(problem.experts)]
            for row in problem.loads
        ]
        self.held = [list(held) for held in slots]
        self.home = [Counter(expert for expert in held if expert != NO_EXPERT) for held in before]
        self.loads = [[sum((weights[e] for e in held if e != NO_EXPERT), Fraction(0)) for held in slots]
                      for weights in self.weights]  # fmt: skip

    def improve(self) -> bool:
        """Do every swap that helps, once over all ranks; say whether there was one."""
        found = False
        for rank in range(len(self.held)):
            for other, mine, theirs in list(self._candidates(rank)):
                if self._still_there(rank, other, mine, theirs) and self._fits(rank, other, mine, theirs):
                    self._swap(rank, other, mine, theirs)
                    found = True
        return found

    def _candidates(self, rank: int) -> Iterator[tuple[int, int, int]]:
        """Yield swaps of a stranger on the rank for an expert that has its home there."""
        for wanted in self.home[rank] - Counter(self.held[rank]):
            for other in range(len(self.held)):
                near = other // self.node_ranks == rank // self.node_ranks
                if near and other != rank and self._surplus(other, wanted):
                    for stranger in set(self.held[rank]):
                        if self._surplus(rank, stranger):
                            yield other, stranger, wanted

    def _surplus(self, rank: int, expert: int) -> bool:
        return self.held[rank].count(expert) > (self.home[rank][expert] if expert != NO_EXPERT else 0)

    def _still_there(self, rank: int, other: int, mine: int, theirs: int) -> bool:
        missing = self.held[rank].count(theirs) < self.home[rank][theirs]
        return missing and self._surplus(rank, mine) and self._surplus(other, theirs)

    def _fits(self, rank: int, other: int, mine: int, theirs: int) -> bool:
        if self.problem.distinct and (theirs in self.held[rank] or (mine != NO_EXPERT and mine in self.held[other])):
            return False
        for weights, loads in zip(self.weights, self.loads, strict=True):
            change = self._weight(weights, theirs) - self._weight(weights, mine)
            if max(loads[rank] + change, loads[other] - change) > self.largest:
                return False
        return True

    def _swap(self, rank: int, other: int, mine: int, theirs: int) -> None:
        self.held[rank][self.held[rank].index(mine)] = theirs
        self.held[other][self.held[other].index(theirs)] = mine
        for weights, loads in zip(self.weights, self.loads, strict=True):
            change = self._weight(weights, theirs) - self._weight(weights, mine)
            loads[rank] += change
            loads[other] -= change

    @staticmethod
    def _weight(weights: list[Fraction], expert: int) -> Fraction:
        return weights[expert] if expert != NO_EXPERT else Fraction(0)
