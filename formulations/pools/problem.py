r"""The pools problem in integers: which replicas to run on which offers, at the least cost.

A *kind* of replica stands on one offer, takes ``gpus`` of its GPUs, and carries at most one of its ``loads``, or any
mixture of them by time. n_k replicas of each kind carry the demand D when

.. math:: \exists\, \lambda_{k,e} \ge 0: \quad \sum_e \lambda_{k,e} = n_k, \qquad
    \sum_{k,e} \lambda_{k,e}\, v_{k,e,s} \ge D_s \quad \forall s .

By duality this holds exactly when every vector of weights y >= 0 says so (`cover_row`):

.. math:: \sum_k h_k(y)\, n_k \ge y \cdot D, \qquad h_k(y) = \max_e y \cdot v_{k,e} .

Nodes: a replica of at most a node's GPUs stands in one node, a wider one on whole nodes. Weights f of widths bound what
a node holds (`pack_row`): no node of m GPUs holds replicas whose f add up to more than F(m), a knapsack's optimum.

======  ========================  ==========  =======================================================
symbol  code                      unit        source
======  ========================  ==========  =======================================================
n_k     variable k                replicas    decision
z_o     variable K + o            nodes       decision, where an offer is sold by the node
v_k,e   ``kinds[k].loads[e]``     load        proven capacities, or a table of measurements
D_s     ``demand[s]``             load        the instance's scenarios or request classes
c_o     ``supplies[o].cost``      objective   per GPU that is paid
======  ========================  ==========  =======================================================

All numbers are integers of any size; only the solver's own rows are rounded (`shardproof.formulations.pools.program`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb, gcd
from typing import Literal

Load = tuple[int, ...]
Placement = Literal["packed", "whole-nodes"]
Spare = Literal["replica", "node"]
Lost = tuple[Spare, tuple[tuple[int, int], ...]]
"""What is gone: replicas of kinds, or any nodes of offers, as (place, how many)."""


@dataclass(frozen=True)
class Kind:
    """Replicas that are alike: where they stand, how wide they are, and what each carries at most.

    ``pool`` tells apart the models that an offer serves.
    """

    offer: int
    pool: int
    gpus: int
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Supply:
    """What one offer has: nodes of ``node`` GPUs, ``nodes`` as (GPUs, how many) or without end.

    ``cost``: of each GPU that is paid, in units of the objective: those of replicas, or of every node in use where the
    offer is ``by_node``.
    """

    name: str
    node: int
    nodes: tuple[tuple[int, int], ...] | None
    cost: int
    by_node: bool = False

    @property
    def node_count(self) -> int | None:
        """Nodes there are."""
        return None if self.nodes is None else sum(count for _, count in self.nodes)


@dataclass(frozen=True)
class Limit:
    """At most ``top`` in all, ``rates`` for each GPU that is paid of each offer."""

    name: str
    rates: tuple[int, ...]
    top: int


@dataclass(frozen=True)
class Row:
    """A row ``sum of coefficient x variable >= least`` that every fleet keeps (where its condition holds)."""

    terms: Mapping[int, int]
    least: int


@dataclass(frozen=True)
class PoolsProblem:
    """The whole problem; ``spare``: what may be gone while the rest carries the demand, ``gone``: how many at once."""

    demand: Load
    kinds: tuple[Kind, ...]
    supplies: tuple[Supply, ...]
    limits: tuple[Limit, ...]
    placement: Placement = "packed"
    spare: Spare | None = None
    gone: int = 1

    @property
    def variables(self) -> int:
        """Replicas of every kind, then nodes of every offer."""
        return len(self.kinds) + len(self.supplies)

    def with_kinds(self, kinds: Sequence[Kind]) -> PoolsProblem:
        """Return the problem with other kinds."""
        return replace(self, kinds=tuple(kinds))

    def paid(self, rates: Sequence[int]) -> dict[int, int]:
        """Terms of a sum over the GPUs that are paid."""
        terms: dict[int, int] = {}
        for place, kind in enumerate(self.kinds):
            rate = rates[kind.offer]
            if rate and not self.supplies[kind.offer].by_node:
                terms[place] = rate * kind.gpus
        for place, supply in enumerate(self.supplies):
            if rates[place] and supply.by_node:
                terms[len(self.kinds) + place] = rates[place] * supply.node
        return terms

    @cached_property
    def costs(self) -> dict[int, int]:
        """Terms of the objective."""
        return self.paid([supply.cost for supply in self.supplies])

    @property
    def step(self) -> int:
        """Greatest common divisor of all costs: every fleet costs a multiple of it."""
        return gcd(*self.costs.values()) or 1

    def cost_of(self, counts: Sequence[int]) -> int:
        """Objective of the values of all variables."""
        return sum(cost * counts[place] for place, cost in self.costs.items())

    def nodes_of(self, kind: Kind) -> int:
        """Nodes that a replica touches."""
        return -(-kind.gpus // self.supplies[kind.offer].node)

    @cached_property
    def tops(self) -> tuple[int, ...]:
        """Largest value that each variable can have, from limits and supplies alone."""
        nodes = [self.most_nodes(place) for place in range(len(self.supplies))]
        found = []
        for place, kind in enumerate(self.kinds):
            node = self.supplies[kind.offer].node
            room = nodes[kind.offer]
            tops = [limit.top // rate for limit in self.limits if (rate := self.paid(limit.rates).get(place, 0))]
            if room is not None:
                tops.append(room // -(-kind.gpus // node) if kind.gpus > node else room * (node // kind.gpus))
            found.append(min(tops))
        found += [0 if room is None or not self.supplies[place].by_node else room for place, room in enumerate(nodes)]
        return tuple(found)

    def most_nodes(self, place: int) -> int | None:
        """Return how many nodes of an offer there are, or can be paid (``None``: nothing bounds them)."""
        supply = self.supplies[place]
        tops = [] if supply.node_count is None else [supply.node_count]
        if supply.by_node:
            tops += [limit.top // (limit.rates[place] * supply.node) for limit in self.limits if limit.rates[place]]
        return min(tops, default=None)

    def worth(self, kind: Kind, weights: Sequence[int]) -> int:
        """Most that a replica carries under weights of the demands."""
        return max((sum(y * v for y, v in zip(weights, load, strict=True)) for load in kind.loads), default=0)

    def asked(self, weights: Sequence[int]) -> int:
        """Demand under weights."""
        return sum(y * d for y, d in zip(weights, self.demand, strict=True))

    def cover_row(self, weights: Sequence[int], lost: Lost | None = None, nodes: Sequence[int] | None = None) -> Row:
        """What is left carries the demand, under weights.

        With lost replicas the row holds where there are as many. With N lost nodes of an offer of at most A nodes it is
        the sum over all choices of N: a replica that touches a of them stays in binom(A - a, N) of binom(A, N), of
        several offers in the product. ``nodes``: A of each offer, where it is known to be less than there are.
        """
        worth, least, times = [self.worth(kind, weights) for kind in self.kinds], self.asked(weights), 1
        chosen: dict[int, tuple[int, int]] = {}
        if lost is not None and lost[0] == "replica":
            least += sum(worth[place] * count for place, count in lost[1])
        for place, count in lost[1] if lost is not None and lost[0] == "node" else ():
            rooms = (self.most_nodes(place) or 0) if nodes is None else nodes[place]
            chosen[place] = (rooms, min(count, rooms))
            times *= comb(*chosen[place])
        terms = {}
        for place, kind in enumerate(self.kinds):
            rooms, gone = chosen.get(kind.offer, (1, 0))
            stays = times // comb(rooms, gone) * comb(max(0, rooms - self.nodes_of(kind)), gone) if gone else times
            if worth[place]:
                terms[place] = stays * worth[place]
        return Row(terms, least * times)

    def held(self, weights: Sequence[int], gpus: int) -> int:
        """Most that replicas in a node of ``gpus`` GPUs weigh; ``weights[w]`` is that of a replica of w GPUs."""
        if self.placement == "whole-nodes":
            return max(weights[: gpus + 1], default=0)
        best = [0] * (gpus + 1)
        for room in range(1, gpus + 1):
            fits = range(1, min(room, len(weights) - 1) + 1)
            best[room] = max(best[room - 1], *(weights[width] + best[room - width] for width in fits))
        return best[gpus]

    def pack_row(self, place: int, weights: Sequence[int]) -> Row:
        """Replicas of an offer fit into its nodes, by weights of widths 0 .. node."""
        supply = self.supplies[place]
        whole = self.held(weights, supply.node)
        terms = {}
        for at, kind in enumerate(self.kinds):
            if kind.offer == place:
                weight = weights[kind.gpus] if kind.gpus <= supply.node else whole * self.nodes_of(kind)
                if weight:
                    terms[at] = -weight
        if supply.by_node:
            return Row(terms | {len(self.kinds) + place: whole}, 0)
        return Row(terms, -sum(count * self.held(weights, gpus) for gpus, count in supply.nodes or ()))

    def limit_row(self, limit: Limit) -> Row:
        """A limit as a row."""
        return Row({place: -rate for place, rate in self.paid(limit.rates).items()}, -limit.top)

    def objective_row(self, top: int) -> Row:
        """Fleets that cost at most ``top``."""
        return Row({place: -cost for place, cost in self.costs.items()}, -top)
