"""From a resolved question about pools to its answer: the fleet, its nodes, what holds when something is gone, a proof.

Capacities come from the exact search of single replicas, or from the instance's own table; both lead to the same
program, the same tree and the same checker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shardproof.formulations.fleet.covering import Item, trimmed
from shardproof.formulations.pools.build import problem_of, scales_of
from shardproof.formulations.pools.problem import Kind
from shardproof.instances.errors import InternalError
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.checkers import pools as checker
from shardproof.solver.pools.certificate import Evidence, PoolFacts, document
from shardproof.solver.pools.fleet_plans import fleet_plan, metrics_of
from shardproof.solver.pools.knowledge import Knowledge, Table
from shardproof.solver.pools.outcome import Asked, PoolsOutcome, PoolsSettings, Pursuit
from shardproof.solver.pools.pooled import Clock, Searched, SearchedPool, least_ttft
from shardproof.solver.pools.programs import chain_of, programs_of
from shardproof.solver.pools.result import UNITS, FleetResult
from shardproof.solver.pools.search import OutOfTimeError, PoolsSearch, Realised
from shardproof.solver.pools.words import sentences
from shardproof.solver.problem import deployment_of
from shardproof.solver.result import Proof, Status
from shardproof.solver.search.capacities import Known
from shardproof.solver.search.query import Interrupted
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import versions


def solve_pools(question: PoolsQuestion, settings: Settings | None = None) -> FleetResult:
    """Find the fleet with the least objective (or the most load), and prove it.

    Raises
    ------
    CheckFailed
        If the checker refuses what was found (a fault of ours).
    """
    settings, started = settings or Settings(), time.monotonic()
    work = _Work(question, settings)
    asked = Asked(work.base.demand, question.objective == "load", question.resolution)
    effort = PoolsSettings(settings.time_limit_s, settings.workers, settings.seed)
    outcome = Pursuit(work.knowledge, asked, effort, work.realised).run()
    evidence = _evidence(question, asked, outcome, work)
    plan = None if outcome.fleet is None else fleet_plan(question, outcome.fleet, work.chosen)
    status, proof = _status(outcome), _proof(outcome, evidence, settings)
    objective = question.objective
    scale = question.resolution if objective == "load" else UNITS[objective][1]
    return FleetResult(
        status=status,
        proof=proof,
        objective=objective,
        value=outcome.value,
        bound=outcome.bound,
        certified_bound=outcome.certified,
        scale=scale,
        stop_reason="time-limit" if outcome.out_of_time else "proved",
        metrics=None if plan is None else metrics_of(question, plan),
        plan=plan,
        assumptions=question.assumptions,
        instance_fingerprint=question.fingerprint,
        versions=versions(),
        seconds=time.monotonic() - started,
        explanation=sentences(question, outcome) if settings.explain else (),
        evidence=evidence,
    )


@dataclass
class _Work:
    """What is known while a question is answered."""

    question: PoolsQuestion
    settings: Settings
    chosen: dict[Kind, tuple[SearchedPool, Known]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build the problem and, where capacities are searched for, every pool's deployment."""
        self.base = problem_of(self.question)
        self.clock = Clock()
        if self.settings.time_limit_s is not None:
            self.clock.stop_at = time.monotonic() + self.settings.time_limit_s * 0.8
        self.pools = tuple(
            SearchedPool(pool.offer, pool.places, deployment_of(pool.instance), self.clock)
            for pool in self.question.pools
        )
        self.knowledge: Knowledge = Table(self.base)
        if self.pools:
            self.searched = Searched(self.base, self.pools, lambda pool: pool.floor)
            self.knowledge = self.searched

    def realised(self, search: PoolsSearch, fleet: Realised) -> Realised | None:
        """Return the fleet on ceiling tables: its loads no more than needed, each replica with its lowest TTFT."""
        if not self.pools:
            return fleet
        try:
            return self._realised(search, fleet)
        except Interrupted:
            return None

    def _realised(self, search: PoolsSearch, fleet: Realised) -> Realised | None:
        ceilings = Searched(self.base, self.pools, lambda pool: pool.ceiling, self.knowledge.demand)
        ceilings.demand = self.knowledge.demand
        made = self._made(fleet, ceilings)
        if made is not None:
            return made
        again = PoolsSearch(ceilings, search.workers, search.seed, search.stop_at)
        try:
            found = again.run()
        except OutOfTimeError:
            return None
        return None if found is None else self._made(found, ceilings)

    def _made(self, fleet: Realised, ceilings: Searched) -> Realised | None:
        kinds = self._trimmed(fleet)
        for place, kind in enumerate(kinds):
            if fleet.values[place]:
                pool = self.pools[kind.pool]
                if not pool.ceiling.carries(kind.gpus, ceilings.load_of(kind)):
                    return None
        final = []
        for place, kind in enumerate(kinds):
            final.append(self._chosen(kind, ceilings) if fleet.values[place] else kind)
        return Realised(fleet.problem.with_kinds(final), fleet.values, fleet.nodes)

    def _chosen(self, kind: Kind, ceilings: Searched) -> Kind:
        """Choose the chain of a kind that is carried; return the kind as the chain has it."""
        known, pool = ceilings.known(kind), self.pools[kind.pool]
        assert known is not None
        best = least_ttft(pool, known)
        made = ceilings.kind_of(kind.pool, pool, Item(best[1].gpus(best[0]), best[2]))
        self.chosen[made] = (pool, best)
        return made

    def _trimmed(self, fleet: Realised) -> list[Kind]:
        """Lower loads to what the demand needs, where nothing is to be spared."""
        kinds = list(fleet.problem.kinds)
        used = [place for place, _ in enumerate(kinds) if fleet.values[place]]
        if fleet.problem.spare is not None or not used:
            return kinds
        fleet_items = [(fleet.values[place], Item(kinds[place].gpus, kinds[place].loads[0])) for place in used]
        for place, (_, item) in zip(used, trimmed(fleet.problem.demand, fleet_items), strict=True):
            old = kinds[place]
            kinds[place] = Kind(old.offer, old.pool, old.gpus, (item.load,)) if any(item.load) else old
        return kinds


def _evidence(question: PoolsQuestion, asked: Asked, outcome: PoolsOutcome, work: _Work) -> Evidence:
    from shardproof.solver.search.cp_sat import NAME

    facts: tuple[PoolFacts, ...]
    size = len(question.demand)
    if not work.pools:
        every = tuple(range(size))
        facts = tuple(PoolFacts(stock.name, at, every, (True,) * size) for at, stock in enumerate(question.offers))
        return Evidence(question.fingerprint, asked, facts, outcome, {}, {}, f"claimed by {NAME}")
    facts = tuple(
        PoolFacts(asked_pool.name, pool.offer, pool.places, (bool(pool.deployment.options),) * len(pool.places))
        for asked_pool, pool in zip(question.pools, work.pools, strict=True)
    )
    chains: dict[Kind, dict[str, Any]] = {}
    programs = programs_of(work.pools, work.chosen, outcome, chains)
    return Evidence(question.fingerprint, asked, facts, outcome, programs, chains, f"claimed by {NAME}")


def blank_document(question: PoolsQuestion) -> dict[str, Any]:
    """Return what a certificate says of a question before anything is searched."""
    work = _Work(question, Settings())
    asked = Asked(work.base.demand, question.objective == "load", question.resolution)
    outcome = PoolsOutcome(None, None, None, None, work.base, None, claimed=False, out_of_time=False)
    facts = _evidence(question, asked, outcome, work)
    found = document(replace(facts, programs={}))
    return {key: value for key, value in found.items() if key not in ("plan", "claim")}


def _status(outcome: PoolsOutcome) -> Status:
    if outcome.fleet is None:
        return "infeasible" if outcome.infeasible else "undecided"
    return "optimal" if outcome.bound == outcome.value and (outcome.tree or outcome.claimed) else "feasible"


def _proof(outcome: PoolsOutcome, evidence: Evidence, settings: Settings) -> Proof:
    """Say what the checker accepted, or who says so."""
    if outcome.fleet is None and not outcome.infeasible:
        return "none"
    if settings.certify and outcome.tree is not None and not unproven(evidence.programs):
        raw = json.dumps(document(evidence)).encode()
        try:
            checker.check(raw)
        except checker.CheckError as error:
            raise InternalError(f"the checker rejects our own certificate: {error}") from None
        if outcome.fleet is None or outcome.certified == outcome.value:
            return "certified-optimal"
        return "solver-claimed" if outcome.bound == outcome.value else "certified-gap"
    return "solver-claimed"


def unproven(programs: Mapping[int, tuple[dict[str, Any], list[dict[str, Any]]]]) -> bool:
    """Whether some refused load has no trees: a solver's claim."""
    return any(wall["trees"] is None for _, walls in programs.values() for wall in walls)


__all__ = ["chain_of", "scales_of", "solve_pools", "unproven"]
