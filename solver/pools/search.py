"""The cheapest fleet: optimistic fleets from CP-SAT, what is wrong with them from exact arithmetic, until nothing is.

A fleet may fail because a kind of replica does not carry what nothing known excluded, because shares of mixed loads do
not add up (`split`), because the rest does not carry the demand when something is gone, or because its replicas do not
fit into nodes. Each failure becomes a row, a fact about a kind or, where no row says it, an excluded point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from shardproof.formulations.pools.problem import Kind, PoolsProblem, Row
from shardproof.formulations.pools.program import Effort, Excluded, Found, Rows, least
from shardproof.formulations.pools.proposal import proposed
from shardproof.formulations.pools.relaxation import relaxed, size_of
from shardproof.formulations.pools.rows import Cover, Spec, first_rows, lost_nodes, row_of, unit_weights
from shardproof.formulations.pools.split import split
from shardproof.instances.clock import now
from shardproof.solver.pools.knowledge import Knowledge
from shardproof.solver.pools.losses import without_nodes, without_replicas
from shardproof.solver.pools.packing import Node, Spread, UndecidedError, packed, packed_together
from shardproof.solver.search.query import Interrupted


class OutOfTimeError(Exception):
    """The time is over."""


@dataclass(frozen=True)
class Realised:
    """A fleet that holds: the problem whose variables it gives values to, and its nodes by offer."""

    problem: PoolsProblem
    values: tuple[int, ...]
    nodes: tuple[tuple[Node, ...], ...]

    @property
    def cost(self) -> int:
        """Objective."""
        return self.problem.cost_of(self.values)

    @property
    def groups(self) -> tuple[tuple[Kind, int], ...]:
        """Kinds in use, with their replicas."""
        pairs = zip(self.problem.kinds, self.values, strict=False)
        return tuple((kind, count) for kind, count in pairs if count)


@dataclass(frozen=True)
class _Point:
    """A fleet that is impossible: replicas of each kind, nodes of each offer, and in which directions to leave it."""

    kinds: Mapping[Kind, int]
    nodes: tuple[int, ...]
    below: frozenset[Kind] | None
    above: frozenset[Kind] | None
    more_nodes: bool

    def excluded(self, problem: PoolsProblem) -> Excluded | None:
        """Write it for the kinds of a problem; ``None``: a kind of it is no longer one."""
        places = {kind: place for place, kind in enumerate(problem.kinds)}
        if any(kind not in places for kind, count in self.kinds.items() if count):
            return None
        here = [(kind, place, self.kinds.get(kind, 0)) for kind, place in places.items()]
        first = len(problem.kinds)
        nodes = tuple((first + place, count) for place, count in enumerate(self.nodes))
        below = tuple((place, count) for kind, place, count in here if self.below is None or kind in self.below)
        above = tuple((place, count) for kind, place, count in here if self.above is None or kind in self.above)
        return Excluded(below + (nodes if self.more_nodes else ()), above)


@dataclass
class PoolsSearch:
    """Looks for the cheapest fleet that `knowledge` admits; ``stop_at``: when to give up (`instances.clock`)."""

    knowledge: Knowledge
    workers: int = 1
    seed: int = 0
    stop_at: float | None = None
    weights: list[tuple[int, ...]] = field(default_factory=list)
    exact: bool = True
    """Whether nothing was excluded that nobody refuted."""
    alike: frozenset[int] = frozenset()
    """Pools whose replicas are all of one kind."""
    proposing: bool = True
    """Whether fleets come from a program in floats, so that there being no better one needs another proof."""
    watch: Callable[[PoolsSearch, int], None] | None = None
    """Who hears the cost below which nothing known admits a fleet, as it grows."""
    _points: list[_Point] = field(default_factory=list)
    _losses: set[frozenset[tuple[Kind, int]]] = field(default_factory=set)
    """Replicas, by kind, whose loss together was found to matter."""

    def __post_init__(self) -> None:
        """Begin with weights that look at one demand each."""
        self.weights = self.weights or unit_weights(self.knowledge.problem())

    def run(self, cost: int | None = None) -> Realised | None:
        """Return the cheapest fleet or, at no more than ``cost``, one of fewest kinds; ``None``: there is none.

        Raises
        ------
        OutOfTimeError
            If the time is over before that.
        """
        while True:
            problem = self.knowledge.problem()
            if self._settle(problem):
                continue
            found = self._least(problem, cost)
            if found.values is None:
                if not found.proven:
                    raise OutOfTimeError
                return None
            if self.watch is not None:
                self.watch(self, problem.cost_of(found.values))
            open_ = [kind for kind, n in zip(problem.kinds, found.values, strict=False) if n and self._open(kind)]
            if open_:
                self._learn(problem, open_)
                continue
            realised = self.judged(problem, found.values)
            if realised is not None:
                self.exact &= found.proven
                return realised

    def glance(self) -> int | None:
        """Return the cost of a fleet of kinds that are known to be carried; this search learns nothing by it."""
        aside = PoolsSearch(self.knowledge, self.workers, self.seed, self.stop_at, list(self.weights), alike=self.alike)
        try:
            found = aside.confirmed()
        except OutOfTimeError:
            return None
        return None if found is None else found.cost

    def any_fleet(self, *, learn: bool = True) -> Realised | None:
        """Return a fleet of kinds that are known to be carried, learning until there is one or can be none."""
        while True:
            found = self.confirmed()
            if found is not None or not learn:
                return found
            problem = self.knowledge.problem()
            if self._settle(problem):
                continue
            return self.run()

    def confirmed(self) -> Realised | None:
        """Return the cheapest fleet of kinds that are known to be carried, as far as it is found."""
        problem = self.knowledge.problem(confirmed=True)
        while problem.kinds:
            found = self._least(problem, None)
            if found.values is None:
                return None
            realised = self.judged(problem, found.values)
            if realised is not None:
                return realised
        return None

    def specs(self, problem: PoolsProblem) -> list[Spec]:
        """Rows without condition that are known."""
        found = [*first_rows(problem), *map(Cover, self.weights)]
        if problem.spare == "node":
            found += [Cover(weights, lost) for weights in self.weights for lost in lost_nodes(problem)]
        return found

    def judged(self, problem: PoolsProblem, values: tuple[int, ...]) -> Realised | None:
        """Return the fleet if it holds; else note why it does not."""
        replicas = values[: len(problem.kinds)]
        if self._differ(problem, replicas) or not self._all_carried(problem, values, replicas):
            return None
        nodes = self._seated(problem, values)
        return None if nodes is None else Realised(problem, values, nodes)

    def _differ(self, problem: PoolsProblem, replicas: tuple[int, ...]) -> bool:
        """Whether replicas differ that are to be alike; no two kinds of them are proposed together again."""
        used = [kind for kind, n in zip(problem.kinds, replicas, strict=True) if n and kind.pool in self.alike]
        pairs = [pair for pair in combinations(used, 2) if pair[0].pool == pair[1].pool]
        for pair in pairs:
            self._points.append(_Point(dict.fromkeys(pair, 1), (), frozenset(), frozenset(pair), more_nodes=False))
        return bool(pairs)

    def _all_carried(self, problem: PoolsProblem, values: tuple[int, ...], replicas: tuple[int, ...]) -> bool:
        """Whether the demand is carried by all replicas, and by those that are left when as many as may be are gone."""
        if problem.spare is None:
            return self._carried(problem, replicas)
        for left in without_replicas(replicas, problem.gone):
            known = len(self.weights)
            if not self._carried(problem, left):
                lost = [(kind, n - m) for kind, n, m in zip(problem.kinds, replicas, left, strict=False) if n > m]
                noted = frozenset(lost) in self._losses or sum(count for _, count in lost) <= 1
                self._losses.add(frozenset(lost))
                if noted and len(self.weights) == known:
                    self._exclude(problem, values)
                return False
        return True

    def _seated(self, problem: PoolsProblem, values: tuple[int, ...]) -> tuple[tuple[Node, ...], ...] | None:
        """Return the nodes of every offer; ``None``: replicas do not fit, or too much is gone with some nodes."""
        spread = self._spread(problem, values)
        nodes = []
        for offer in range(len(problem.supplies)):
            try:
                found = packed(problem, values, offer, spread)
            except UndecidedError:
                self.exact, found = False, None
            if found is None and problem.gone > 1 and problem.spare == "node":
                return self._together(problem, values, spread)
            if found is None:
                self._exclude_packing(problem, values, offer)
                return None
            nodes.append(found)
        if self._any_nodes_may_go(problem, values, nodes):
            return tuple(nodes)
        return self._together(problem, values, self._spread(problem, values)) if problem.gone > 1 else None

    def _together(
        self, problem: PoolsProblem, values: tuple[int, ...], spread: Spread
    ) -> tuple[tuple[Node, ...], ...] | None:
        """Seat the replicas of all offers at once, so that any so many nodes may be gone."""
        known = len(self.weights)
        try:
            nodes = packed_together(problem, values, spread, problem.gone)
        except UndecidedError:
            self.exact, nodes = False, None
        if nodes is not None and self._any_nodes_may_go(problem, values, nodes):
            return nodes
        if nodes is None or len(self.weights) == known:
            self._exclude_packing(problem, values, 0)
        return None

    def _least(self, problem: PoolsProblem, cost: int | None) -> Found:
        rows = Rows([row_of(problem, spec) for spec in self.specs(problem)])
        if problem.spare is not None:
            for weights in self.weights:
                worth = tuple(problem.worth(kind, weights) for kind in problem.kinds)
                rows.without.append((problem.cover_row(weights), worth))
                rows.where += self._lost_rows(problem, weights)
        for point in self._points:
            excluded = point.excluded(problem)
            if excluded is not None:
                rows.excluded.append(excluded)
        effort = Effort(self._left(), self.workers, self.seed)
        found = proposed(problem, rows, effort, cost=cost) if self.proposing else None
        return found or least(problem, rows, effort, cost=cost)

    def _lost_rows(
        self, problem: PoolsProblem, weights: tuple[int, ...]
    ) -> list[tuple[Row, tuple[tuple[int, int], ...]]]:
        """Rows of what is left where as many replicas are there as were found to matter together."""
        places = {kind: place for place, kind in enumerate(problem.kinds)}
        found = []
        for lost in self._losses:
            if all(kind in places for kind, _ in lost) and sum(count for _, count in lost) > 1:
                there = tuple(sorted((places[kind], count) for kind, count in lost))
                found.append((problem.cover_row(weights, ("replica", there)), there))
        return found

    def _left(self) -> float | None:
        if self.stop_at is None:
            return None
        left = self.stop_at - now()
        if left <= 0:
            raise OutOfTimeError
        return left

    def _open(self, kind: Kind) -> bool:
        return self.knowledge.is_open(kind)

    def _learn(self, problem: PoolsProblem, kinds: Sequence[Kind]) -> None:
        shares = self._shares(problem, kinds)
        for kind in kinds:
            self._left()
            if self.knowledge.is_open(kind):
                try:
                    self.knowledge.learn(kind, shares.get(kind, 1.0))
                except Interrupted:
                    raise OutOfTimeError from None

    def _shares(self, problem: PoolsProblem, kinds: Sequence[Kind]) -> dict[Kind, float]:
        """How much of its load each kind must carry to be of use: where its worth is what it costs.

        Prices are duals of the relaxation over kinds that are known to be carried; without one nothing is said.
        """
        known = self.knowledge.problem(confirmed=True)
        if not known.kinds:
            return {}
        specs = self.specs(known)
        rows = [row_of(known, spec) for spec in specs]
        found = relaxed(known, rows, [(0, top) for top in known.tops])
        if found.missed > 1e-6:
            return {}
        prices = [dual / size_of(row) for dual, row in zip(found.duals, rows, strict=True)]
        open_ = problem.with_kinds(kinds)
        worth, other = [0.0] * len(kinds), [0.0] * len(kinds)
        for spec, price in zip(specs, prices, strict=True):
            target, sign = (worth, 1) if isinstance(spec, Cover) else (other, -1)
            for place, term in row_of(open_, spec).terms.items() if price else ():
                if place < len(kinds):
                    target[place] += sign * price * term
        largest = max(known.costs.values(), default=1)
        costs = [open_.costs.get(place, 0) / largest + other[place] for place in range(len(kinds))]
        return {kind: cost / value for kind, cost, value in zip(kinds, costs, worth, strict=True) if value > 0}

    def _settle(self, problem: PoolsProblem) -> bool:
        """Learn about kinds that the relaxation uses; return whether any was open."""
        if not any(map(self._open, problem.kinds)):
            return False
        box = [(0, top) for top in problem.tops]
        rows: list[Row] = [row_of(problem, spec) for spec in self.specs(problem)]
        found = relaxed(problem, rows, box)
        if self.watch is not None and found.missed <= 1e-6:
            self.watch(self, int(found.value * max(problem.costs.values(), default=1)))
        pairs = zip(problem.kinds, found.point, strict=False)
        open_ = [kind for kind, value in pairs if value > 1e-6 and self._open(kind)]
        self._learn(problem, open_)
        return bool(open_)

    def _carried(self, problem: PoolsProblem, counts: tuple[int, ...]) -> bool:
        """Whether replicas carry the demand; if not, weights are noted that say so."""
        if all(len(kind.loads) == 1 for kind in problem.kinds) and self._plainly_carried(problem, counts):
            return True
        found = split(problem.demand, problem.kinds, counts)
        if found.multiple >= 1:
            return True
        if found.weights not in self.weights:
            self.weights.append(found.weights)
        elif problem.spare is None:
            self._points.append(_Point(dict(zip(problem.kinds, counts, strict=True)), (), None, frozenset(), False))
        return False

    def _plainly_carried(self, problem: PoolsProblem, counts: tuple[int, ...]) -> bool:
        pairs = [(count, kind.loads[0]) for count, kind in zip(counts, problem.kinds, strict=True) if count]
        return all(sum(count * load[s] for count, load in pairs) >= asked for s, asked in enumerate(problem.demand))

    def _exclude(self, problem: PoolsProblem, values: tuple[int, ...]) -> None:
        """Exclude these numbers of replicas, and nothing else: a row that was rounded lets them through."""
        self._points.append(_Point(dict(zip(problem.kinds, values, strict=False)), (), None, None, more_nodes=False))

    def _spread(self, problem: PoolsProblem, values: tuple[int, ...]) -> Spread:
        if problem.spare != "node":
            return Spread((), (), 1)
        worth, slack = [], []
        for weights in self.weights:
            row = problem.cover_row(weights)
            worth.append(tuple(problem.worth(kind, weights) for kind in problem.kinds))
            slack.append(sum(factor * values[place] for place, factor in row.terms.items()) - row.least)
        return Spread(tuple(worth), tuple(slack), problem.gone)

    def _exclude_packing(self, problem: PoolsProblem, values: tuple[int, ...], offer: int) -> None:
        kinds = dict(zip(problem.kinds, values, strict=False))
        own = frozenset(kind for kind in problem.kinds if kind.offer == offer)
        nodes = values[len(problem.kinds) :]
        everything = None if problem.spare == "node" else own
        below: frozenset[Kind] | None = None if problem.spare == "node" else frozenset()
        self._points.append(_Point(kinds, nodes, below, everything, more_nodes=True))

    def _any_nodes_may_go(
        self, problem: PoolsProblem, values: tuple[int, ...], nodes: Sequence[tuple[Node, ...]]
    ) -> bool:
        """Whether what is left carries the demand when any nodes, as many as may be, are gone."""
        if problem.spare != "node":
            return True
        size = len(problem.kinds)
        parts = [tuple(node.kinds.count(place) for place in range(size)) for found in nodes for node in found]
        return all(self._carried(problem, left) for left in without_nodes(values[:size], parts, problem.gone))
