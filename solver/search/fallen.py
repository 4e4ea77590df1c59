"""Contexts that fall at sight: by an empty interval, sums, work, volume or reach, without a table of sums."""

from __future__ import annotations

from shardproof.solver.proof.refutation import Empty, Node, Reach, SplitMax, Sum, Volume
from shardproof.solver.search.room import room
from shardproof.solver.search.view import Bounded, View


def fallen(view: View) -> Node | None:
    """Refutations that need no table: an empty interval, sum, volume, reach."""
    if any(row.high is not None and row.high <= row.low for row in view.paths):
        return Empty()
    # Sums first: they need the tables of times alone, which all layouts share, and no number of GPUs helps there.
    for row in view.paths:
        if row.limit is not None and view.least_sum(row.path.table) > room(row):
            return Sum(row.path.name)
    for row in view.paths:
        found = _slow(view, row)
        if found is not None:
            return found
    named = [(cap.name, cap.table, limit) for cap, limit in view.caps]
    named += [(row.path.name, row.path.table, row.high) for row in view.paths if row.high is not None]
    for name, table, limit in named:
        if view.volume(table) > view.budget * limit:
            return Volume(name)
    reach = view.reach()
    return Reach(reach) if reach[-1] < view.layers else None


def _slow(view: View, row: Bounded) -> Node | None:
    """Refute a path by work alone: slower stages than its least sum leaves room for fall by it, others by volume."""
    further = row.path.microbatches - 1
    if row.limit is None or not further:
        return None
    slowest = (row.limit - view.least_sum(row.path.table)) // further
    if row.high is not None and row.high <= slowest:
        return None
    if view.volume(row.path.table) <= view.budget * slowest:
        return None
    return SplitMax(row.path.name, slowest, Volume(row.path.name), Sum(row.path.name))
