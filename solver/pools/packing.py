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
    """What a node may hold at most, so that the rest carries the demand: kinds' worth by weights, and the slack."""

    worth: tuple[tuple[int, ...], ...]
    slack: tuple[int, ...]

    def holds(self, kinds: Sequence[int]) -> bool:
        """Whether the node with these replicas may be gone."""
        sums = (sum(worth[kind] for kind in kinds) for worth in self.worth)
        return all(lost <= slack for lost, slack in zip(sums, self.slack, strict=True))


def packed(problem: PoolsProblem, values: Sequence[int], offer: int, spread: Spread) -> tuple[Node, ...] | None:
    """Return the nodes of one offer with their replicas, or ``None``: they do not fit.

    Raises
    ------
    UndecidedError
        If it is not known after `PACKED_WITHIN_S`.
    """
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
    left = values[len(problem.kinds) + offer] if supply.by_node else None
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
    kinds = sorted(set(replicas))
    if not rooms:
        return None if replicas else []
    model = cp_sat.CpBaseModel(None)
    variables = model.model_proto.variables

    def row(terms: dict[int, int], low: int, high: int) -> None:
        linear = model.model_proto.constraints.add().linear
        linear.vars.extend(list(terms))
        linear.coeffs.extend(list(terms.values()))
        linear.domain.extend([low, high])

    for _ in rooms:
        for place in kinds:
            variables.add().domain.extend([0, replicas.count(place)])
    at = {(node, place): node * len(kinds) + k for node in range(len(rooms)) for k, place in enumerate(kinds)}
    for place in kinds:
        row({at[node, place]: 1 for node in range(len(rooms))}, replicas.count(place), replicas.count(place))
    for node, size in enumerate(rooms):
        row({at[node, place]: problem.kinds[place].gpus for place in kinds}, 0, size)
        if problem.placement == "whole-nodes":
            row({at[node, place]: 1 for place in kinds}, 0, 1)
        for worth, slack in zip(spread.worth, spread.slack, strict=True):
            unit = -(-max(slack, *worth) // LARGEST)
            row({at[node, place]: -(-worth[place] // unit) for place in kinds}, 0, slack // unit)
    for node in range(1, len(rooms)):
        if rooms[node] == rooms[node - 1]:
            terms = {at[node - 1, place]: k + 1 for k, place in enumerate(kinds)}
            row({**terms, **{at[node, place]: -k - 1 for k, place in enumerate(kinds)}}, 0, 1 << 40)
    return _read(model, at, rooms, kinds)


def _read(
    model: cp_sat.CpBaseModel, at: dict[tuple[int, int], int], rooms: list[int], kinds: list[int]
) -> list[tuple[int, list[int]]] | None:
    parameters = cp_sat.SatParameters()
    parameters.num_workers, parameters.presolve_inclusion_work_limit = 1, 0
    parameters.max_time_in_seconds = PACKED_WITHIN_S
    wrapper = cp_sat.SolveWrapper()
    wrapper.set_parameters(parameters)
    response = wrapper.solve(model.model_proto)  # type: ignore[no-untyped-call]
    if response.status == cp_sat.CpSolverStatus.INFEASIBLE:
        return None
    if response.status == cp_sat.CpSolverStatus.UNKNOWN:
        raise UndecidedError
    if response.status not in (cp_sat.CpSolverStatus.OPTIMAL, cp_sat.CpSolverStatus.FEASIBLE):
        raise InternalError(f"the packing program ends with {response.status}")
    counts = list(response.solution)
    return [
        (size, [place for place in kinds for _ in range(counts[at[node, place]])]) for node, size in enumerate(rooms)
    ]
