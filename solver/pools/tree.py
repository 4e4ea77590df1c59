"""The proof that no fleet is cheaper: a tree of cases whose leaves are sums of rows with integer factors.

Best-first branch and bound on the relaxation. A leaf's duals, rounded to integers, add up to a contradiction in exact
arithmetic; the lowest relaxation over the leaves is the bound that the tree proves.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from shardproof.formulations.pools.problem import PoolsProblem, Row
from shardproof.formulations.pools.relaxation import PENALTY, Relaxed, multipliers, relaxed
from shardproof.formulations.pools.rows import Cover, Spec, row_of
from shardproof.formulations.pools.split import split
from shardproof.instances.clock import now
from shardproof.solver.pools.losses import worst
from shardproof.solver.pools.search import PoolsSearch

MOST_NODES = 4000
WHOLE = 1e-6


@dataclass(frozen=True)
class Leaf:
    """No fleet in this case: rows (by what they say) with their factors; ``objective`` is that of its own row."""

    objective: int
    rows: tuple[tuple[Spec, int], ...]


@dataclass(frozen=True)
class Branch:
    """At most ``at`` of a variable, or more."""

    variable: int
    at: int
    low: Tree
    high: Tree


Tree = Leaf | Branch

Box = tuple[tuple[int, int], ...]


@dataclass
class _Case:
    box: Box
    found: Relaxed
    specs: tuple[Spec, ...]
    branch: tuple[int, int, _Case, _Case] | None = None


@dataclass
class TreeSearch:
    """Grows a tree over the problem as it is known, with the rows that the search has found."""

    search: PoolsSearch
    problem: PoolsProblem
    stop_at: float | None = None
    _rows: dict[tuple[Spec, tuple[int, ...] | None], Row] = field(default_factory=dict)

    def run(self, wanted: int | None) -> tuple[int | None, Tree] | None:
        """Refute fleets that cost less than ``wanted`` (``None``: any fleet).

        Returns the cost that is proven to be the least (or less, if the tree grew too large), with the tree; ``None``:
        nothing is proven.
        """
        priced = wanted is not None
        root = self._case(tuple((0, top) for top in self.problem.tops), priced=priced)
        cases = self._grown(root, wanted)
        if wanted is None:
            return self._written(root, None)
        step, largest = self.problem.step, max(self.problem.costs.values(), default=1)
        lowest = min(case.found.value for case in cases) * largest
        proven = min(wanted, step * ceil((lowest * (1 - 1e-9) - step * WHOLE) / step))
        while proven > 0:
            written = self._written(root, proven - step)
            if written is not None:
                return proven, written[1]
            proven -= step * max(1, (wanted - proven) // step)
        return None

    def _grown(self, root: _Case, wanted: int | None) -> list[_Case]:
        """Split the case with the lowest relaxation until all are closed; return those at the ends."""
        order, ends, priced = itertools.count(), list[_Case](), wanted is not None
        largest = max(self.problem.costs.values(), default=1)
        open_ = [(root.found.value, next(order), root)]
        for _ in range(MOST_NODES):
            if not open_ or (self.stop_at is not None and now() > self.stop_at):
                break
            value, _, case = heapq.heappop(open_)
            top = 0.0 if wanted is None else (wanted - self.problem.step) / largest
            split_at = None if value > top + WHOLE * max(top, 1e-3) else self._fractional(case)
            if split_at is None:
                ends.append(case)
                if value <= top:
                    break
                continue
            variable, at = split_at
            low, high = case.box[variable]
            parts = [
                self._case(_narrowed(case.box, variable, sides), priced=priced) for sides in ((low, at), (at + 1, high))
            ]
            case.branch = (variable, at, parts[0], parts[1])
            for part in parts:
                heapq.heappush(open_, (part.found.value, next(order), part))
        return ends + [case for _, _, case in open_]

    def _case(self, box: Box, *, priced: bool) -> _Case:
        """Relax a case, adding rows that its point breaks."""
        while True:
            specs = tuple(self._specs(box))
            found = relaxed(self.problem, [self._row(spec, box) for spec in specs], box, priced=priced)
            if not self._separated(found):
                return _Case(box, found, specs)

    def _specs(self, box: Box) -> Iterator[Spec]:
        yield from self.search.specs(self.problem)
        if self.problem.spare is not None:
            sure = [low for low, _ in box[: len(self.problem.kinds)]]
            for weights in self.search.weights:
                worth = [self.problem.worth(kind, weights) for kind in self.problem.kinds]
                if lost := worst(worth, sure, self.problem.gone):
                    yield Cover(weights, ("replica", lost))

    def _row(self, spec: Spec, box: Box) -> Row:
        """Write a row; of offers that are sold by the node no more nodes are in use than the case allows."""
        nodes: tuple[int, ...] | None = None
        if isinstance(spec, Cover) and spec.lost is not None and spec.lost[0] == "node":
            first = len(self.problem.kinds)
            nodes = tuple(
                box[first + place][1] if supply.by_node else self.problem.most_nodes(place) or 0
                for place, supply in enumerate(self.problem.supplies)
            )
        if (spec, nodes) not in self._rows:
            self._rows[spec, nodes] = row_of(self.problem, spec, nodes)
        return self._rows[spec, nodes]

    def _separated(self, found: Relaxed) -> bool:
        """Whether mixed loads at the point need a row that is not known yet."""
        kinds = self.problem.kinds
        if all(len(kind.loads) == 1 for kind in kinds) or found.missed > WHOLE:
            return False
        counts = [Fraction(max(0.0, value)).limit_denominator(10**6) for value in found.point[: len(kinds)]]
        shared = split(self.problem.demand, kinds, counts)
        if shared.multiple >= 1 - Fraction(1, 10**5) or shared.weights in self.search.weights:
            return False
        self.search.weights.append(shared.weights)
        return True

    def _fractional(self, case: _Case) -> tuple[int, int] | None:
        """Return the variable that is furthest from whole, and where to split it."""
        parts = [(abs(value - round(value)), place) for place, value in enumerate(case.found.point)]
        most, place = max(parts)
        if most > WHOLE:
            return place, floor(case.found.point[place])
        loose = [(high - low, place) for place, (low, high) in enumerate(case.box) if high > low]
        if not loose or case.found.missed <= WHOLE:
            return self._spared(case)
        return None

    def _spared(self, case: _Case) -> tuple[int, int] | None:
        """With spares: a kind in use of which fewer are sure to be there than may be gone."""
        if self.problem.spare is None:
            return None
        for place in range(len(self.problem.kinds)):
            low, high = case.box[place]
            if low < min(self.problem.gone, round(case.found.point[place]), high):
                return place, low
        return None

    def _written(self, case: _Case, top: int | None) -> tuple[None, Tree] | None:
        if case.branch is not None:
            low, high = (self._written(child, top) for child in case.branch[2:])
            if low is None or high is None:
                return None
            return None, Branch(case.branch[0], case.branch[1], low[1], high[1])
        rows = [self._row(spec, case.box) for spec in case.specs]
        found = multipliers(self.problem, rows, case.found.duals, case.box, top)
        if found is None:
            return None
        pairs = zip(case.specs, found[1], strict=True)
        return None, Leaf(found[0], tuple((spec, factor) for spec, factor in pairs if factor))


def _narrowed(box: Box, variable: int, sides: tuple[int, int]) -> Box:
    return (*box[:variable], sides, *box[variable + 1 :])


__all__ = ["PENALTY", "Branch", "Leaf", "Tree", "TreeSearch"]
