r"""The pools program on CP-SAT: replicas of every kind, least cost first, then fewest kinds.

.. math::

    \min \sum_k c_k n_k + \sum_o c_o z_o, \qquad \sum_k a_{r,k} n_k \ge b_r \quad \forall r, \qquad
    u_k \le n_k \le N_k\, u_k

Rows r are those of `shardproof.formulations.pools.problem`; a row without a replica of kind k holds where u_k does. A
row whose sum of \|coefficient x bound\| would pass 2^52 is divided by an integer and rounded so that every fleet still
keeps it (variables are no less than 0: sum of ceil(a / d) n >= ceil(b / d)); it then admits a little more, which
exact arithmetic outside finds and excludes.

A point that is known to be impossible is excluded by a clause: some variable is larger, or smaller, than there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ortools.sat.python import cp_model_helper as cp_sat

from shardproof.formulations.pools.problem import PoolsProblem, Row
from shardproof.instances.errors import InternalError

LARGEST = 2**52
NEVER = -(1 << 62)


@dataclass(frozen=True)
class Excluded:
    """A point that no fleet is: some variable is larger than one of ``below``, or smaller than one of ``above``."""

    below: tuple[tuple[int, int], ...]
    above: tuple[tuple[int, int], ...]


@dataclass
class Rows:
    """What is known to hold: rows without condition, rows of which a used kind takes its worth, and points excluded.

    ``without``: a row and what is lost of it with one replica of each kind; ``where``: rows that hold where there are
    as many replicas of some kinds, (place, how many).
    """

    always: list[Row] = field(default_factory=list)
    without: list[tuple[Row, tuple[int, ...]]] = field(default_factory=list)
    where: list[tuple[Row, tuple[tuple[int, int], ...]]] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """Values of all variables (``None``: there are none), and a bound on the objective."""

    values: tuple[int, ...] | None
    bound: int
    proven: bool


@dataclass(frozen=True)
class Effort:
    """How long and with how much the solver looks."""

    seconds: float | None = None
    workers: int = 1
    seed: int = 0


def least(
    problem: PoolsProblem, rows: Rows, effort: Effort, *, cost: int | None = None, hint: Sequence[int] | None = None
) -> Found:
    """Return the cheapest fleet or, of those that cost at most ``cost``, one of fewest kinds, then of fewest GPUs.

    Raises
    ------
    InternalError
        If the solver returns what breaks a row.
    """
    model = _Model(problem)
    for row in (*rows.always, *((problem.objective_row(cost),) if cost is not None else ())):
        model.add(row)
    for row, worth in rows.without:
        model.survive(row, worth)
    for row, there in rows.where:
        model.add_where(row, there)
    for excluded in rows.excluded:
        model.exclude(excluded)
    terms = problem.costs if cost is None else model.fewest(problem)
    found = model.solved(terms, effort, hint)
    if found.values is not None:
        _check(problem, rows, found.values)
    return found


def rounded(row: Row, tops: Sequence[int]) -> Row:
    """Return a row whose sum of |coefficient x bound| is small enough, implied by the given one."""
    size = sum(abs(factor) * max(1, tops[place]) for place, factor in row.terms.items()) + abs(row.least)
    if size <= LARGEST:
        return row
    divisor = -(-size // (LARGEST // 2))
    return Row({place: -(-factor // divisor) for place, factor in row.terms.items()}, -(-row.least // divisor))


class _Model:
    """The program being built; variables: replicas and nodes, then whether each kind is used."""

    def __init__(self, problem: PoolsProblem) -> None:
        self.model, self.tops = cp_sat.CpBaseModel(None), problem.tops
        self.kinds, self.size = len(problem.kinds), problem.variables
        self.enough: dict[tuple[int, int], int] = {}
        for top in self.tops:
            self.variable(0, top)
        for place in range(self.kinds):
            used = self.variable(0, 1)
            self.linear({place: 1, used: -self.tops[place]}, NEVER, 0)
            self.linear({place: 1, used: -1}, 0, -NEVER)

    def fewest(self, problem: PoolsProblem) -> dict[int, int]:
        """Terms of an objective that counts kinds in use first, then GPUs of replicas."""
        gpus = {place: kind.gpus for place, kind in enumerate(problem.kinds)}
        most = 1 + sum(width * self.tops[place] for place, width in gpus.items())
        return gpus | {self.literal(place): most for place in gpus}

    def literal(self, place: int) -> int:
        return self.size + place

    def variable(self, low: int, high: int) -> int:
        variables = self.model.model_proto.variables
        variables.add().domain.extend([low, high])
        return len(variables) - 1

    def linear(self, terms: Mapping[int, int], low: int, high: int, *, when: int | None = None) -> Any:
        constraint = self.model.model_proto.constraints.add()
        if when is not None:
            constraint.enforcement_literal.append(when)
        constraint.linear.vars.extend(list(terms))
        constraint.linear.coeffs.extend(list(terms.values()))
        constraint.linear.domain.extend([low, high])
        return constraint

    def add(self, row: Row) -> None:
        small = rounded(row, self.tops)
        self.linear(small.terms, small.least, -NEVER)

    def add_where(self, row: Row, there: Sequence[tuple[int, int]]) -> None:
        """Keep a row where there are as many replicas of each kind."""
        if any(self.tops[place] < count for place, count in there):
            return
        literals = []
        for place, count in there:
            if count > 1 and (place, count) not in self.enough:
                self.enough[place, count] = self.variable(0, 1)
                self.linear({place: 1, self.enough[place, count]: -self.tops[place]}, NEVER, count - 1)
            literals.append(self.literal(place) if count == 1 else self.enough[place, count])
        small = rounded(row, self.tops)
        constraint = self.linear(small.terms, small.least, -NEVER)
        constraint.enforcement_literal.extend(literals)

    def survive(self, row: Row, worth: Sequence[int]) -> None:
        """Keep the row without any one replica."""
        most = sum(factor * self.tops[place] for place, factor in row.terms.items())
        divisor = 1 if most <= LARGEST else -(-most // (LARGEST // 2))
        small = {place: -(-factor // divisor) for place, factor in row.terms.items()}
        total = self.variable(0, sum(factor * self.tops[place] for place, factor in small.items()))
        self.linear({**small, total: -1}, 0, -NEVER)
        for place, lost in enumerate(worth):
            if lost and self.tops[place]:
                self.linear({total: 1}, -(-(row.least + lost) // divisor), -NEVER, when=self.literal(place))

    def exclude(self, excluded: Excluded) -> None:
        literals = []
        for place, value in excluded.below:
            if value < self.tops[place]:
                literals.append(self.variable(0, 1))
                self.linear({place: 1}, value + 1, -NEVER, when=literals[-1])
        for place, value in excluded.above:
            if value > 0:
                literals.append(self.variable(0, 1))
                self.linear({place: 1}, NEVER, value - 1, when=literals[-1])
        self.model.model_proto.constraints.add().bool_or.literals.extend(literals)

    def solved(self, terms: Mapping[int, int], effort: Effort, hint: Sequence[int] | None) -> Found:
        objective = self.model.model_proto.objective
        for place, factor in terms.items():
            objective.vars.append(place)
            objective.coeffs.append(factor)
        if hint is not None:
            self.model.model_proto.solution_hint.vars.extend(range(len(hint)))
            self.model.model_proto.solution_hint.values.extend(list(hint))
        response = _run(self.model, effort)
        if response.status == cp_sat.CpSolverStatus.INFEASIBLE:
            return Found(None, 0, proven=True)
        if response.status not in (cp_sat.CpSolverStatus.OPTIMAL, cp_sat.CpSolverStatus.FEASIBLE):
            if response.status == cp_sat.CpSolverStatus.UNKNOWN:
                return Found(None, 0, proven=False)
            raise InternalError(f"the pools program ends with {response.status}")
        proven = response.status == cp_sat.CpSolverStatus.OPTIMAL
        values = tuple(list(response.solution)[: self.size])
        return Found(values, max(0, int(response.best_objective_bound)) if terms else 0, proven)


def _run(model: cp_sat.CpBaseModel, effort: Effort) -> cp_sat.CpSolverResponse:
    parameters = cp_sat.SatParameters()
    parameters.num_workers, parameters.random_seed = effort.workers, effort.seed
    parameters.presolve_inclusion_work_limit = 0
    if effort.seconds is not None:
        parameters.max_time_in_seconds = max(0.05, effort.seconds)
    wrapper = cp_sat.SolveWrapper()
    wrapper.set_parameters(parameters)
    return wrapper.solve(model.model_proto)  # type: ignore[no-untyped-call, no-any-return]


def _check(problem: PoolsProblem, rows: Rows, values: Sequence[int]) -> None:
    """Judge the values in plain integers; rows that were rounded admit more and are judged as they were posted."""
    small = [rounded(row, problem.tops) for row in rows.always]
    broken = any(sum(factor * values[place] for place, factor in row.terms.items()) < row.least for row in small)
    if broken or any(not 0 <= value <= top for value, top in zip(values, problem.tops, strict=True)):
        raise InternalError(f"CP-SAT returned replicas that break the pools program: {values}")
