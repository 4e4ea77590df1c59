"""The proof of a bound over replicas whose requests come by themselves: their rates by the checker's own arithmetic.

Every shape that may stand in a cheaper fleet is listed with its tables and planes. What the checker makes of them are
the kinds of the program, and the tree is grown over those: the file proves what it holds, not what was searched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Any

from shardproof.formulations.fleet.covering import Item
from shardproof.formulations.pools.problem import Kind, Load, PoolsProblem
from shardproof.solver.checkers.open_loop import rates
from shardproof.solver.open_loop.certificate import Proof
from shardproof.solver.pools.arriving import OpenPool, pareto
from shardproof.solver.pools.knowledge import Searched, Table, own_of
from shardproof.solver.pools.outcome import Asked, PoolsOutcome, PoolsSettings, Pursuit
from shardproof.solver.pools.work import Work

PROVED_WITHIN_S = 60.0
"""Seconds that the tree may take at most."""
ROOM = 4
"""Factor on the largest load that the bound says is carried, up to which rates are told apart."""


@dataclass(frozen=True)
class RatesProof:
    """A fleet that was played, with the bound that is proved beside it, and by pool what proves its rates."""

    outcome: PoolsOutcome
    facts: dict[int, dict[str, Any]]


def proof_of_rates(asked: Asked, outcome: PoolsOutcome, work: Work) -> RatesProof | None:
    """Prove the bound of an outcome, or what is left of it in exact arithmetic (``None``: the tree grows too large)."""
    problem = outcome.refuted
    demand = asked.demand
    if asked.most_load:
        demand = asked.demand_of(ROOM * ((outcome.bound or 0) + 1))
    facts, kinds = dict[int, dict[str, Any]](), list[Kind]()
    for place, pool in enumerate(work.pools):
        if isinstance(pool, OpenPool):
            facts[place] = facts_of(pool, listed_below(problem, pool, None if asked.most_load else outcome.bound))
            kinds += _kinds(work, place, facts[place], demand)
        else:
            kinds += [kind for kind in problem.kinds if kind.pool == place]
    effort = PoolsSettings(PROVED_WITHIN_S, work.settings.workers, work.settings.seed)
    proved = Pursuit(Table(problem.with_kinds(kinds)), asked, effort, lambda _, fleet: fleet).run()
    other = asked.most_load and len(facts) < len(work.pools) and proved.certified != outcome.certified
    if proved.tree is None or other:
        return None
    return RatesProof(replace(proved, fleet=outcome.fleet, value=outcome.value), facts)


def listed_below(problem: PoolsProblem, pool: OpenPool, bound: int | None) -> int:
    """Return the GPUs of a replica which costs as much as the bound by itself: wider ones need no figures."""
    cost, most = problem.supplies[pool.offer].cost, pool.instance.max_gpus + 1
    return most if bound is None or not cost else max(1, min(most, -(-bound // cost)))


def facts_of(pool: OpenPool, below: int) -> dict[str, Any]:
    """Return what a certificate says of the shapes of a pool: requests, tables, and directions of planes."""
    proof = Proof(pool.instance, below)
    for bound in proof.shapes:
        for open_ in proof.scenarios:
            if not bound.refused(open_):
                bound.needed(open_, inf)
    return proof.facts(None)


def _kinds(work: Work, place: int, facts: dict[str, Any], demand: Load) -> list[Kind]:
    """Replicas of a pool by what the checker finds that none passes, without those that another does better than."""
    pool = work.pools[place]
    assert isinstance(pool, OpenPool)
    own = own_of(pool, demand)
    items = [Item(gpus, tuple(map(min, own, map(ceil, each)))) for gpus, each in rates(facts)]
    if facts["listed_below"] <= facts["max_gpus"]:
        items.append(Item(facts["listed_below"], own))
    searched = Searched(work.base, work.pools, floor=True)
    return [searched.kind_of(place, item) for item in pareto(items)]
