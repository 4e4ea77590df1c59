"""How much room the path rows of a case leave, and the refutation of one by its least sums."""

from __future__ import annotations

from shardproof.solver.proof.refutation import Frontier
from shardproof.solver.search.costs import remaining_minimum
from shardproof.solver.search.least_sums import Cheapest
from shardproof.solver.search.view import Bounded, View


def lowest(view: View, row: Bounded) -> int:
    """Return the interval's lower end, as far as volume raises it: no slowest stage costs as little as that."""
    return max(row.low, -(-view.volume(row.path.table) // view.budget) - 1)


def looseness(view: View, row: Bounded) -> float:
    """Share of a path's limit that the width of the interval of its slowest stage leaves open."""
    assert row.limit is not None
    if row.path.microbatches < 2 or row.high is None:
        return 0.0
    return (row.path.microbatches - 1) * (row.high - lowest(view, row) - 1) / max(1, row.limit)


def slack(view: View, row: Bounded) -> float:
    """Share of a path's limit that its cheapest conceivable chain leaves: rows that leave least decide most."""
    assert row.limit is not None
    slowest = max(row.low + 1, -(-view.volume(row.path.table) // view.budget))
    least = view.least_sum(row.path.table) + (row.path.microbatches - 1) * slowest
    return (row.limit - least) / max(1, row.limit)


def room(row: Bounded) -> int:
    """Return what a path's limit leaves for the sum over stages, its slowest stage at the interval's lower end."""
    assert row.limit is not None
    return row.limit - (row.path.microbatches - 1) * (row.low + 1)


def frontier(view: View, cheapest: Cheapest, row: Bounded) -> Frontier:
    """Return the refutation of a path that no chain's least sum keeps."""
    limit = room(row)
    rest = remaining_minimum(view.costs(row.path.table))
    return Frontier((((row.path.name, 1),),), cheapest.label_rows(rest, limit))
