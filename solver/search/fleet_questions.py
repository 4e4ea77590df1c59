"""Short questions about fleets, without plans or certificates: can so many GPUs do, and how few can."""

from __future__ import annotations

from collections.abc import Callable

from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.tables import Program
from shardproof.formulations.fleet.fleet import Family
from shardproof.solver.proof.capacity import alike_claims
from shardproof.solver.proof.refutation import Refutation
from shardproof.solver.search.capacities import Capacities, Maker, Provers
from shardproof.solver.search.fleet import FleetLoop
from shardproof.solver.search.lexicographic import AnyProver
from shardproof.solver.search.prover import TimelyProver
from shardproof.solver.search.query import Answer, Query


class LeftOpenError(Exception):
    """The exact search gave up on a case that the question turns on."""


def _left_open(program: Program, query: Query, answer: Answer, *, floor: bool) -> Chain | None:
    raise LeftOpenError(f"{len(answer.unknown)} cases of {query} in {program.layouts[0].name}, floor {floor}")


def _maker(check_stop: Callable[[], None]) -> Maker:
    def make(program: Program, *, floor: bool) -> AnyProver:
        return TimelyProver(program, floor, check_stop)

    return make


def ruled_out(family: Family, query: Query, *, mixed: bool, check_stop: Callable[[], None]) -> bool:
    """Whether no fleet of at most the query's GPUs keeps its limits (also ``False``: it was left open).

    ``mixed``: replicas need not be alike.
    """
    program = family.program
    refutation = TimelyProver(program, floor=True, check_stop=check_stop).decide(query).refutation
    if refutation is None or not mixed:
        return refutation is not None
    known = Capacities(Provers(family, _maker(check_stop)), _left_open, floor=True, limits=query)
    for claim in alike_claims(program.layouts, query.gpus, refutation.trees, family.demand):
        known.add(claim)
    try:
        return FleetLoop(known, family.demand, query.gpus).run() is None
    except LeftOpenError:
        return False


def fewest_gpus(family: Family, *, mixed: bool, check_stop: Callable[[], None]) -> int | None:
    """Fewest GPUs of any fleet, without later levels (``None``: none is known to exist)."""
    alike, refutation = _fewest_alike(family.program, check_stop)
    if not mixed or alike == 1:
        return alike
    most = family.program.max_gpus if alike is None else alike - 1
    known = Capacities(Provers(family, _maker(check_stop)), _left_open, floor=False, limits=Query(0))
    if refutation is not None:
        for claim in alike_claims(family.program.layouts, refutation.gpus, refutation.trees, family.demand):
            known.add(claim)
    try:
        fleet = FleetLoop(known, family.demand, most).run()
    except LeftOpenError:
        return alike
    return alike if fleet is None else sum(count * kind.gpus for count, kind in fleet)


def _fewest_alike(program: Program, check_stop: Callable[[], None]) -> tuple[int | None, Refutation | None]:
    """Return the fewest GPUs of replicas that are alike, and what refutes one fewer, as far as it was asked."""
    prover = TimelyProver(program, floor=False, check_stop=check_stop)
    if not program.options:
        return None, None
    first = prover.decide(Query(program.max_gpus))
    if first.chain is None:
        return None, first.refutation
    low, high, below = 1, first.chain.gpus(program), first.refutation
    while low < high:
        middle = (low + high) // 2
        answer = prover.decide(Query(middle))
        if answer.chain is None:
            low, below = middle + 1, answer.refutation
        else:
            high = answer.chain.gpus(program)
    return high, below if below is not None and below.gpus == high - 1 else None
