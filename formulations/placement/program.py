r"""The placement of one layer as a CP-SAT program (even split).

.. math::

    \min T \quad \text{s.t.} \quad
    \sum_c y_{e,c} = 1, \quad
    \sum_r n_{e,c,r} = c\, y_{e,c}, \quad
    \sum_{e,c} n_{e,c,r} \le s, \quad
    \sum_{e,c} c\, y_{e,c} = S, \quad
    \sum_{e,c} \tfrac{M}{c} w_e\, n_{e,c,r} \le T

======  ==============================  ========================================
symbol  code                            meaning
======  ==============================  ========================================
y_e,c   chosen[expert, copies]          0/1: the expert has that many replicas
n_e,c,r held[expert, copies, rank]      its replicas on the rank (0/1 if distinct)
M       scale                           least common multiple of all copies
T       largest                         largest rank load times M
======  ==============================  ========================================

Exact: loads are integers times M. Symmetry: ranks are alike, so the loads under the first profile are
ordered; every placement has a relabelling that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, lcm

from ortools.sat.python import cp_model

from shardproof.formulations.placement.check import count_replicas, even_rank_loads
from shardproof.formulations.placement.problem import NO_EXPERT, LayerProblem, Slots

_LARGEST = 1 << 50
"""Coefficients and sums stay far below CP-SAT's 2**63."""


@dataclass(frozen=True)
class LayerProgram:
    """The program and the variables that a placement is read from."""

    model: cp_model.CpModel
    chosen: dict[tuple[int, int], cp_model.IntVar]
    held: dict[tuple[int, int, int], cp_model.IntVar]
    rank_loads: tuple[cp_model.IntVar, ...]
    largest: cp_model.IntVar
    scale: int


@dataclass(frozen=True)
class LayerSolution:
    """What CP-SAT found: a placement or none, a bound or none."""

    slots: Slots | None
    bound: Fraction | None


def program_size(problem: LayerProblem) -> int:
    """Return the number of ``held`` variables; more than any limit where coefficients would overflow."""
    scale = lcm(*range(1, problem.most_copies + 1)) if problem.most_copies <= 40 else _LARGEST
    if scale * max(sum(row) for row in problem.loads) >= _LARGEST:
        return _LARGEST
    return problem.experts * problem.most_copies * problem.ranks


def build_layer_program(problem: LayerProblem) -> LayerProgram:
    """Build the program of one layer."""
    model = cp_model.CpModel()
    copies = range(1, problem.most_copies + 1)
    scale = lcm(*copies)
    most = max(sum(row) for row in problem.loads) * scale
    chosen = {(e, c): model.new_bool_var(f"chosen[{e},{c}]") for e in range(problem.experts) for c in copies}
    held = {
        (e, c, r): model.new_int_var(0, 1 if problem.distinct else min(c, problem.width), f"held[{e},{c},{r}]")
        for e, c in chosen
        for r in range(problem.ranks)
    }
    for expert in range(problem.experts):
        model.add_exactly_one(chosen[expert, c] for c in copies)
        if problem.distinct:
            for rank in range(problem.ranks):
                model.add(sum(held[expert, c, rank] for c in copies) <= 1)
    for (expert, count), picked in chosen.items():
        on_ranks = sum(held[expert, count, rank] for rank in range(problem.ranks))
        model.add(on_ranks == count * picked)
    model.add(sum(count * variable for (_, count), variable in chosen.items()) == problem.filled)
    for rank in range(problem.ranks):
        model.add(sum(held[e, c, rank] for e, c in chosen) <= problem.width)
    largest = model.new_int_var(0, most, "largest")
    rank_loads = _post_loads(model, problem, held, largest=largest, scale=scale, most=most)
    model.minimize(largest)
    return LayerProgram(model, chosen, held, rank_loads, largest, scale)


def _post_loads(
    model: cp_model.CpModel,
    problem: LayerProblem,
    held: dict[tuple[int, int, int], cp_model.IntVar],
    *,
    largest: cp_model.IntVar,
    scale: int,
    most: int,
) -> tuple[cp_model.IntVar, ...]:
    """Post the load of every rank and profile; return those of the first profile, ordered."""
    loads = [model.new_int_var(0, most, f"load[{rank}]") for rank in range(problem.ranks)]
    for profile, row in enumerate(problem.loads):
        for rank in range(problem.ranks):
            load = sum(row[e] * (scale // c) * variable for (e, c, r), variable in held.items() if r == rank)
            if profile == 0:
                model.add(loads[rank] == load)
                model.add(loads[rank] <= largest)
            else:
                model.add(load <= largest)
    for one, two in pairwise(loads):
        model.add(one >= two)
    model.add(sum(loads) == scale * sum(problem.loads[0]))
    return tuple(loads)


def solve_layer(problem: LayerProblem, *, hint: Slots | None, seconds: float, seed: int = 0) -> LayerSolution:
    """Solve one layer with CP-SAT within a time limit."""
    program = build_layer_program(problem)
    if hint is not None:
        _add_hint(program, problem, hint)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    status = solver.solve(program.model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return LayerSolution(None, None)
    slots: list[tuple[int, ...]] = []
    for rank in range(problem.ranks):
        experts = [
            e for (e, _, r), variable in program.held.items() if r == rank for _ in range(solver.value(variable))
        ]
        slots.append(tuple(sorted(experts) + [NO_EXPERT] * (problem.width - len(experts))))
    bound = Fraction(ceil(solver.best_objective_bound - 1e-6), program.scale)
    return LayerSolution(tuple(slots), bound)


def _add_hint(program: LayerProgram, problem: LayerProblem, hint: Slots) -> None:
    loads = even_rank_loads(problem, hint)[0]
    order = sorted(range(problem.ranks), key=lambda rank: -loads[rank])
    copies = count_replicas(hint)
    for (expert, count), variable in program.chosen.items():
        program.model.add_hint(variable, int(copies[expert] == count))
    for (expert, count, place), variable in program.held.items():
        held = hint[order[place]].count(expert) if copies[expert] == count else 0
        program.model.add_hint(variable, held)
