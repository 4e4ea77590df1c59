"""The exact search over the whole program: a chain within given limits, or the tree that refutes them all.

`decide` walks every layout: cheap refutations first (volume, sum, reach), then the axes one by one, then the
intervals of the slowest stage, until each context is refuted or shows a chain. On *ceiling* tables a chain it
shows is feasible in exact arithmetic; on *floor* tables the tree it returns is a proof
(`shardproof.solver.proof.refutation`).
`least` does the same with a limit that it lowers at every chain, down to the optimum of one objective.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.tables import Program, replicas_of
from shardproof.instances.clock import checked_by
from shardproof.solver.proof.refutation import Empty, Node, Refutation
from shardproof.solver.search.query import Answer, Objective, Query, Unknown
from shardproof.solver.search.rounding import RoundedProgram
from shardproof.solver.search.walk import StandsAtSight, Walk


@dataclass
class Prover:
    """Searches one program; ``check_stop`` is called often and raises `Interrupted` to end the search."""

    program: Program
    floor: bool
    check_stop: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        """Read the program in this prover's direction."""
        self._rounded = RoundedProgram(self.program, self.floor, self.check_stop)
        self._counts = replicas_of(self.program.layouts)

    def decide(self, query: Query) -> Answer:
        """Find a chain within the query's limits, or refute every layout."""
        trees: list[Node] = []
        unknown: list[Unknown] = []
        for index in range(len(self.program.layouts)):
            walk = self._walk(query, index)
            if walk is None:
                trees.append(Empty())
                continue
            found = walk.solve()
            unknown += walk.unknown
            if isinstance(found, Chain):
                return Answer(found, None)
            trees.append(found)
        refutation = None if unknown else Refutation(query.gpus, tuple(trees), query.ttft, query.memory)
        return Answer(None, refutation, tuple(unknown))

    def refuted_at_sight(self, query: Query) -> Refutation | None:
        """Refute every layout by volume, sums and reach alone (``None``: some case does not fall at sight).

        The last layouts have the least load on each replica: they stand where any does, and are looked into first.
        """
        trees = []
        try:
            for index in reversed(range(len(self.program.layouts))):
                walk = self._walk(query, index, at_sight=True)
                trees.append(Empty() if walk is None else walk.solve())
        except StandsAtSight:
            return None
        nodes = tuple(tree for tree in reversed(trees) if not isinstance(tree, Chain))
        return Refutation(query.gpus, nodes, query.ttft, query.memory)

    def least(self, query: Query, objective: Objective, start: Chain) -> Answer:
        """Return a chain with the least value of an objective within the query's limits.

        ``start`` is a chain already known; only better ones are looked for, layouts and choices that promise most
        first. The answer holds the refutation of everything below the chain returned.
        """
        best, unknown, trees = start, list[Unknown](), dict[int, Node]()
        query = self.below(query, objective, start)
        walks = {}
        for at in range(len(self.program.layouts)):
            walk = self._walk(query, at, objective)
            if walk is None:
                trees[at] = Empty()
            else:
                walks[at] = walk
        order = list(walks)
        if objective == "ttft" and len(walks) > 1:
            order.sort(key=lambda place: walks[place].promise())
        for place in order:
            walk = walks[place]
            walk.query = query
            tree = walk.solve()
            assert not isinstance(tree, Chain)
            trees[place] = tree
            unknown += walk.unknown
            query, best = walk.query, walk.best or best
        if unknown:
            return Answer(best, None, tuple(unknown))
        # What a looser limit refutes a tighter one does: trees found on the way hold for the last query.
        whole = tuple(trees[place] for place in range(len(trees)))
        return Answer(best, Refutation(query.gpus, whole, query.ttft, query.memory))

    def _walk(
        self, query: Query, index: int, objective: Objective | None = None, *, at_sight: bool = False
    ) -> Walk | None:
        """Return the search in one layout; ``None``: the GPUs give no stage to each of its replicas."""
        if min(query.gpus, self.program.max_gpus) // self._counts[index] < self._rounded.narrowest:
            return None
        layout = self.program.layouts[index]
        return Walk(self._rounded, query, index, layout, objective, at_sight=at_sight)

    def value(self, objective: Objective, chain: Chain) -> int | None:
        """Value of an objective on this prover's tables."""
        return self._rounded.value(objective, chain)

    def below(self, query: Query, objective: Objective, chain: Chain) -> Query:
        """Return the query that only chains better than this one meet."""
        return self._rounded.below(query, objective, chain)


class TimelyProver(Prover):
    """A prover whose check is asked too while tables are filled for it."""

    def decide(self, query: Query) -> Answer:
        """Find a chain within the query's limits, or refute every layout."""
        with checked_by(self.check_stop):
            return super().decide(query)

    def least(self, query: Query, objective: Objective, start: Chain) -> Answer:
        """Return a chain with the least value of an objective within the query's limits."""
        with checked_by(self.check_stop):
            return super().least(query, objective, start)
