"""Which replicas stand in which node: first fit, then CP-SAT where first fit finds no room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model_helper as cp_sat

from shardproof.formulations.pools.problem import PoolsProblem
from shardproof.instances.errors import InternalError

PACKED_WITHIN_S = 10.0
LARGEST = 2**40


class UndecidedError(Exception):
    """CP-SAT did not say in time whether replicas fit."""


@dataclass(frozen=True)
class Node:
    """A node of an offer: its GPUs, and the kinds of the replicas in it; ``parts`` of a wide one stand in several."""

    offer: int
    gpus: int
    kinds: tuple[int, ...]
    wide: int | None = None


@dataclass(frozen=True)
class Spread:
    """What nodes may hold at most, so that the rest carries the demand when ``gone`` are: kinds' worth, and the slack.

    One entry each for every vector of weights.
    """

    worth: tuple[tuple[int, ...], ...]
    slack: tuple[int, ...]
    gone: int

    @property
    def each(self) -> tuple[int, ...]:
        """Slack of one node, if every one takes as much as any."""
        return tuple(slack // self.gone for slack in self.slack)

    def holds(self, kinds: Sequence[int]) -> bool:
        """Whether nodes with these replicas may be gone, as many as may be."""
        sums = (sum(worth[kind] for kind in kinds) for worth in self.worth)
        return all(lost <= slack for lost, slack in zip(sums, self.each, strict=True))


def packed(problem: PoolsProblem, values: Sequence[int], offer: int, spread: Spread) -> tuple[Node, ...] | None:
    """Return the nodes of one offer with their replicas, or ``None``: they do not fit.

    Where several nodes may be gone, each takes its part of the slack: it may do otherwise (`packed_together`).

    Raises
    ------
    UndecidedError
        If it is not known after `PACKED_WITHIN_S`.
    """
    supply = problem.supplies[offer]
    nodes, replicas, left = _parted(problem, values, offer)
    rooms = None if left is None and supply.nodes is None else _rooms(problem, offer, left)
    if rooms is not None:
        if sum(size == supply.node for size in rooms) < len(nodes):
            return None
        rooms = rooms[len(nodes) :]
    elif spread.slack:
        return (*nodes, *(Node(offer, supply.node, (place,)) for place in replicas))
    found = _first_fit(problem, replicas, rooms, supply.node, spread)
    if found is None:
        assert rooms is not None
        found = _searched(problem, replicas, rooms, spread)
    if found is None:
        return None
    held = [Node(offer, size, tuple(kinds)) for size, kinds in found if kinds]
    return (*nodes, *held)


def _parted(problem: PoolsProblem, values: Sequence[int], offer: int) -> tuple[list[Node], list[int], int | None]:
    """Return the nodes of an offer's wide replicas, its other replicas (the widest first), and nodes that are paid."""
    supply = problem.supplies[offer]
    nodes: list[Node] = []
    replicas: list[int] = []
    for place, kind in enumerate(problem.kinds):
        if kind.offer == offer and kind.gpus > supply.node:
            nodes += [
                Node(offer, supply.node, (place,), wide=one)
                for one in range(values[place])
                for _ in range(problem.nodes_of(kind))
            ]
        elif kind.offer == offer:
            replicas += [place] * values[place]
    replicas.sort(key=lambda place: (-problem.kinds[place].gpus, place))
    return nodes, replicas, values[len(problem.kinds) + offer] if supply.by_node else None


def packed_together(
    problem: PoolsProblem, values: Sequence[int], spread: Spread, gone: int
) -> tuple[tuple[Node, ...], ...] | None:
    """Return the nodes of all offers, so that any ``gone`` of them may be; ``None``: there is no such packing.

    Raises
    ------
    UndecidedError
        If it is not known after `PACKED_WITHIN_S`.
    """
    program = _Together(problem, spread, gone)
    fixed: list[list[Node]] = []
    for offer, supply in enumerate(problem.supplies):
        wide, replicas, left = _parted(problem, values, offer)
        if left is None and supply.nodes is None:
            wide += [Node(offer, supply.node, (place,)) for place in replicas]
        else:
            rooms = _rooms(problem, offer, left)
            if sum(size == supply.node for size in rooms) < len(wide):
                return None
            if not program.add(offer, replicas, rooms[len(wide) :]):
                return None
        fixed.append(wide)
    found = program.solved([node for nodes in fixed for node in nodes])
    return None if found is None else tuple((*nodes, *found.get(offer, ())) for offer, nodes in enumerate(fixed))


def _rooms(problem: PoolsProblem, offer: int, left: int | None) -> list[int]:
    """GPUs of the nodes there are, or that are paid, the largest first."""
    supply = problem.supplies[offer]
    sizes = [supply.node] * (left or 0) if left is not None else []
    if left is None:
        sizes = [gpus for gpus, count in supply.nodes or () for _ in range(count)]
    return sorted(sizes, reverse=True)


def _first_fit(
    problem: PoolsProblem, replicas: list[int], rooms: list[int] | None, node: int, spread: Spread
) -> list[tuple[int, list[int]]] | None:
    bins: list[tuple[int, list[int]]] = [] if rooms is None else [(size, []) for size in sorted(rooms)]
    for place in replicas:
        for size, kinds in bins:
            if _fits(problem, size, [*kinds, place]) and spread.holds([*kinds, place]):
                kinds.append(place)
                break
        else:
            if rooms is not None:
                return None
            bins.append((node, [place]))
    return bins


def _fits(problem: PoolsProblem, size: int, kinds: list[int]) -> bool:
    alone = problem.placement == "packed" or len(kinds) == 1
    return alone and sum(problem.kinds[place].gpus for place in kinds) <= size


def _searched(
    problem: PoolsProblem, replicas: list[int], rooms: list[int], spread: Spread
) -> list[tuple[int, list[int]]] | None:
    """Put the question to CP-SAT: how many replicas of each kind in each node."""
    if not rooms:
        return None if replicas else []
    model = _Model(problem)
    held = model.hold(replicas, rooms)
    for node in held:
        for worth, slack in zip(spread.worth, spread.each, strict=True):
            unit = -(-max(slack, *worth) // LARGEST)
            model.row({variable: -(-worth[place] // unit) for place, variable in node.items()}, 0, slack // unit)
    counts = model.solved()
    if counts is None:
        return None
    return [(size, _kinds(node, counts)) for size, node in zip(rooms, held, strict=True)]


def _kinds(node: dict[int, int], counts: list[int]) -> list[int]:
    return [place for place, variable in node.items() for _ in range(counts[variable])]


class _Model:
    """A program of how many replicas of each kind stand in each node."""

    def __init__(self, problem: PoolsProblem) -> None:
        self.problem, self.model = problem, cp_sat.CpBaseModel(None)

    def variable(self, top: int) -> int:
        variables = self.model.model_proto.variables
        variables.add().domain.extend([0, top])
        return len(variables) - 1

    def row(self, terms: dict[int, int], low: int, high: int) -> None:
        linear = self.model.model_proto.constraints.add().linear
        linear.vars.extend(list(terms))
        linear.coeffs.extend(list(terms.values()))
        linear.domain.extend([low, high])

    def hold(self, replicas: list[int], rooms: list[int]) -> list[dict[int, int]]:
        """Put replicas into rooms; return for each room the variable of every kind."""
        kinds = sorted(set(replicas))
        held = [{place: self.variable(replicas.count(place)) for place in kinds} for _ in rooms]
        for place in kinds:
            count = replicas.count(place)
            self.row({node[place]: 1 for node in held}, count, count)
        for node, size in zip(held, rooms, strict=True):
            self.row({variable: self.problem.kinds[place].gpus for place, variable in node.items()}, 0, size)
            if self.problem.placement == "whole-nodes":
                self.row(dict.fromkeys(node.values(), 1), 0, 1)
        for at in range(1, len(rooms)):
            if rooms[at] == rooms[at - 1]:
                terms = {held[at - 1][place]: k + 1 for k, place in enumerate(kinds)}
                self.row({**terms, **{held[at][place]: -k - 1 for k, place in enumerate(kinds)}}, 0, 1 << 40)
        return held

    def solved(self) -> list[int] | None:
        """Return the value of every variable; ``None``: there are none."""
        parameters = cp_sat.SatParameters()
        parameters.num_workers, parameters.presolve_inclusion_work_limit = 1, 0
        parameters.max_time_in_seconds = PACKED_WITHIN_S
        wrapper = cp_sat.SolveWrapper()
        wrapper.set_parameters(parameters)
        response = wrapper.solve(self.model.model_proto)  # type: ignore[no-untyped-call]
        if response.status == cp_sat.CpSolverStatus.INFEASIBLE:
            return None
        if response.status == cp_sat.CpSolverStatus.UNKNOWN:
            raise UndecidedError
        if response.status not in (cp_sat.CpSolverStatus.OPTIMAL, cp_sat.CpSolverStatus.FEASIBLE):
            raise InternalError(f"the packing program ends with {response.status}")
        return list(response.solution)


class _Together:
    """The packing of all offers: the most that so many nodes hold together is no more than may be gone.

    The sum of the largest N of some numbers is the least of N t + sum of max(0, number - t) over t.
    """

    def __init__(self, problem: PoolsProblem, spread: Spread, gone: int) -> None:
        self.model, self.spread, self.gone = _Model(problem), spread, gone
        self.nodes: list[tuple[int, int, dict[int, int]]] = []

    def add(self, offer: int, replicas: list[int], rooms: list[int]) -> bool:
        """Put an offer's replicas into its rooms; whether there are any that they need."""
        if not rooms:
            return not replicas
        held = self.model.hold(replicas, rooms) if replicas else []
        self.nodes += [(offer, size, node) for size, node in zip(rooms, held, strict=False)]
        return True

    def solved(self, fixed: Sequence[Node]) -> dict[int, list[Node]] | None:
        """Return the nodes of every offer, beside those that are fixed."""
        alone = [node.kinds[0] for node in fixed if node.wide is None]  # a wide replica is gone with any of its nodes
        alone += [kind for kind, _ in {(node.kinds[0], node.wide) for node in fixed if node.wide is not None}]
        for worth, slack in zip(self.spread.worth, self.spread.slack, strict=True):
            unit = -(-max(slack, *worth) // LARGEST)
            small, top = [-(-value // unit) for value in worth], max(0, slack // unit)
            if slack < 0:
                return None
            edge = self.model.variable(top)
            over = {edge: self.gone}
            for _, _, node in self.nodes:
                above = self.model.variable(top)
                over[above] = 1
                terms = {variable: -small[place] for place, variable in node.items()}
                self.model.row({**terms, edge: 1, above: 1}, 0, 1 << 50)
            for kind in alone:
                above = self.model.variable(top)
                over[above] = 1
                self.model.row({edge: 1, above: 1}, small[kind], 1 << 50)
            self.model.row(over, 0, top)
        counts = self.model.solved()
        if counts is None:
            return None
        found: dict[int, list[Node]] = {}
        for offer, size, node in self.nodes:
            if kinds := _kinds(node, counts):
                found.setdefault(offer, []).append(Node(offer, size, tuple(kinds)))
        return found
