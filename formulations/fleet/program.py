r"""The fleet program on CP-SAT: how many replicas of each kind, fewest GPUs first, then fewest kinds.

.. math::

    \min \; (|K| + 1) \sum_k g_k\, n_k + \sum_k u_k, \qquad \sum_k q_{k,s}\, n_k \ge D_s \quad \forall s, \qquad
    \sum_k g_k\, n_k \le G, \qquad u_k \le n_k \le \lfloor G / g_k \rfloor\, u_k, \qquad \sum_k u_k \le S

======  ====================  ========  ==================================================
symbol  code                  unit      source
======  ====================  ========  ==================================================
n_k     ``counts[k]``         replicas  decision, 0..G / g_k
u_k     ``used[k]``           0/1       decision: some replica is of kind k
g_k     ``kinds[k].gpus``     GPUs      width of a replica
q_k,s   ``kinds[k].load[s]``  requests  most that the width carries, as far as is known
D_s     ``demand[s]``         requests  the instance's scenarios
G, S    ``budget, shapes``    GPUs, 1   the question
======  ====================  ========  ==================================================

A row's sum of \|coefficient x bound\| is at most (|K| + 1) G + |K|, or the sum of q G / g: both far below 2^53.
The model goes to the solver's own library (``cp_model_helper``), which loads in a sixth of the time of ``cp_model``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ortools.sat.python import cp_model_helper as cp_sat

from shardproof.formulations.fleet.covering import Item, Load
from shardproof.instances.errors import InternalError


def fewest_gpus(
    demand: Load, kinds: Sequence[Item], budget: int, *, shapes: int | None = None, seed: int = 0
) -> tuple[tuple[int, Item], ...] | None:
    """Return the fleet of fewest GPUs, then fewest kinds, as (replicas, kind); ``None``: there is none.

    Raises
    ------
    InternalError
        If the solver neither finds an optimum nor refutes the program, or returns a fleet that breaks it.
    """
    model = cp_sat.CpBaseModel(None)
    counts = [_variable(model, budget // kind.gpus) for kind in kinds]
    used = [_variable(model, 1) for _ in kinds]
    for count, literal, kind in zip(counts, used, kinds, strict=True):
        _at_most(model, [(count, 1), (literal, -(budget // kind.gpus))], 0)
        _at_most(model, [(literal, 1), (count, -1)], 0)
    for place, requests in enumerate(demand):
        _at_most(model, [(count, -kind.load[place]) for count, kind in zip(counts, kinds, strict=True)], -requests)
    _at_most(model, [(count, kind.gpus) for count, kind in zip(counts, kinds, strict=True)], budget)
    if shapes is not None:
        _at_most(model, [(literal, 1) for literal in used], shapes)
    weight = len(kinds) + 1
    terms = [(count, weight * kind.gpus) for count, kind in zip(counts, kinds, strict=True)]
    objective = model.model_proto.objective
    for index, factor in (*terms, *((literal, 1) for literal in used)):
        objective.vars.append(index)
        objective.coeffs.append(factor)
    found = _solved(model, seed)
    if found is None:
        return None
    return _checked(demand, [(found[count], kind) for count, kind in zip(counts, kinds, strict=True)], budget, shapes)


def _variable(model: cp_sat.CpBaseModel, most: int) -> int:
    variables = model.model_proto.variables
    variables.add().domain.extend([0, most])
    return len(variables) - 1


def _at_most(model: cp_sat.CpBaseModel, terms: Sequence[tuple[int, int]], limit: int) -> None:
    row = model.model_proto.constraints.add().linear
    row.vars.extend([index for index, _ in terms])
    row.coeffs.extend([factor for _, factor in terms])
    row.domain.extend([-(1 << 62), limit])


def _solved(model: cp_sat.CpBaseModel, seed: int) -> list[int] | None:
    parameters = cp_sat.SatParameters()
    parameters.num_workers, parameters.random_seed = 1, seed
    parameters.presolve_inclusion_work_limit = 0
    wrapper = cp_sat.SolveWrapper()
    wrapper.set_parameters(parameters)
    response = wrapper.solve(model.model_proto)  # type: ignore[no-untyped-call]
    if response.status == cp_sat.CpSolverStatus.INFEASIBLE:
        return None
    if response.status != cp_sat.CpSolverStatus.OPTIMAL:
        raise InternalError(f"the fleet program ends with {response.status}")
    return list(response.solution)


def _checked(
    demand: Load, fleet: Sequence[tuple[int, Item]], budget: int, shapes: int | None
) -> tuple[tuple[int, Item], ...]:
    """Judge a fleet in plain integers."""
    kept = tuple((count, kind) for count, kind in fleet if count)
    carried = [sum(count * kind.load[place] for count, kind in kept) for place in range(len(demand))]
    gpus = sum(count * kind.gpus for count, kind in kept)
    short = any(have < want for have, want in zip(carried, demand, strict=True))
    if short or gpus > budget or (shapes is not None and len(kept) > shapes):
        raise InternalError(f"CP-SAT returned a fleet that breaks the fleet program: {kept}")
    return kept
