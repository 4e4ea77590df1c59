"""The later levels of a fleet whose replicas are not alike: fewest shapes, lowest TTFT, lowest peak memory.

Each level asks the same question as the first, with one limit more: is there a fleet of no more GPUs and shapes whose
TTFT (or memory) is lower? Floor tables bound, ceiling tables realise.
"""

from __future__ import annotations

from dataclasses import replace

from shardproof.formulations.fleet.covering import Load, trimmed
from shardproof.formulations.fleet.fleet import Fleet, Group
from shardproof.solver.proof.evidence import Level
from shardproof.solver.search.capacities import Capacities, Provers, Undecided
from shardproof.solver.search.fleet import FleetLoop, Realised
from shardproof.solver.search.outcome import Outcome
from shardproof.solver.search.query import Objective, Query

_STEPS_BEFORE_HALVING = 8
"""Fleets that may improve an objective one by one before what is left is halved instead."""


class MixedLevels:
    """Takes a fleet through the levels after its GPUs."""

    def __init__(self, provers: Provers, undecided: Undecided, demand: Load, outcome: Outcome) -> None:
        """Take who answers questions about single replicas, and where to put what is found."""
        self._provers, self._undecided, self._demand, self._outcome = provers, undecided, demand, outcome

    def fleet_of(self, relaxed: Realised, limits: Query) -> Fleet | None:
        """Return a fleet on ceiling tables, its loads no more than needed; ``None``: rounding forbids it."""
        ceilings = self._capacities(limits, floor=False)
        groups = []
        for count, kind in trimmed(self._demand, relaxed):
            if not ceilings.carries(kind.gpus, kind.load):
                return None
            known = ceilings.found(kind.gpus, kind.load)
            assert known is not None
            groups.append(Group(count, known[2], known[0], known[1]))
        return Fleet(tuple(groups))

    def fleet_on_ceilings(self, budget: int) -> Fleet | None:
        """Look for a fleet where rounding up leaves none of the cheapest on floor tables."""
        limits = Query(0)
        relaxed = FleetLoop(self._capacities(limits, floor=False), self._demand, budget).run()
        return None if relaxed is None else self.fleet_of(relaxed, limits)

    def accept(self, fleet: Fleet, known: Capacities, bound: int, *, shapes: int) -> None:
        """Make a fleet the answer.

        ``known`` refutes fewer than ``bound`` GPUs, and at that bound fewer than ``shapes`` shapes.
        """
        outcome, used = self._outcome, len(fleet.groups)
        outcome.fleet = fleet
        proven = fleet.gpus == bound and used == shapes
        outcome.levels["shapes"] = Level(used, used if proven else 1)
        if proven:
            outcome.capacities["shapes"] = tuple(known.claims)

    def is_beaten(self, gpus: int, ttft: int, known: Capacities) -> bool:
        """Whether no fleet of so many GPUs has a lower TTFT; what ``known`` refuses on floor tables falls on these."""
        faster = self._capacities(Query(0, ttft=ttft - 1), floor=False)
        faster.follow(known)
        return FleetLoop(faster, self._demand, gpus).run() is None

    def lower_all(self, known: Capacities) -> None:
        """Take the accepted fleet through its levels; ``known`` refutes fewer GPUs."""
        limits, walls = Query(0), [known]
        objectives: tuple[Objective, Objective] = ("ttft", "memory")
        for objective in objectives:
            value = self._lower(objective, limits, walls)
            if value is None:
                continue
            limits = _limited(limits, objective, value)

    def _capacities(self, limits: Query, *, floor: bool) -> Capacities:
        return Capacities(self._provers, self._undecided, floor=floor, limits=limits)

    def _lower(self, objective: Objective, limits: Query, walls: list[Capacities]) -> int | None:
        """Lower one objective and bound it; return its value (``None``: the program has no such row)."""
        fleet = self._outcome.fleet
        assert fleet is not None
        gpus, shapes = fleet.gpus, len(fleet.groups)
        fleet = self._polished(fleet, objective, limits)
        value = self._value(fleet, objective)
        if value is None:
            return None
        self._outcome.fleet, self._outcome.levels[objective] = fleet, Level(value, None)
        low, reach, steps = 0, value, 0
        while low < reach:
            asked = reach - 1 if steps < _STEPS_BEFORE_HALVING else (low + reach - 1) // 2
            steps += 1
            tried = self._capacities(_limited(limits, objective, asked), floor=True)
            for looser in walls:
                if _allows(looser.limits, tried.limits):
                    tried.follow(looser)
            walls.append(tried)
            relaxed = FleetLoop(tried, self._demand, gpus).run(shapes)
            if relaxed is None:
                low = asked + 1
                self._outcome.capacities[objective] = tuple(tried.claims)
                self._outcome.levels[objective] = Level(value, low)
                continue
            reach = min(asked, self._reached(relaxed, objective, tried.limits))
            better = self.fleet_of(relaxed, tried.limits)
            if better is not None:
                fleet = self._polished(better, objective, limits)
                value = self._value(fleet, objective)
                assert value is not None
                self._outcome.fleet, self._outcome.levels[objective] = fleet, Level(value, low or None)
        self._outcome.levels[objective] = Level(value, low)
        return value

    def _reached(self, relaxed: Realised, objective: Objective, limits: Query) -> int:
        """Return the least value, on floor tables, that widths and loads of a fleet within the limits allow."""
        values = []
        for _, kind in trimmed(self._demand, relaxed):
            prover, query = self._provers.of(kind.load, kind.gpus, floor=True), replace(limits, gpus=kind.gpus)
            chain = prover.decide(query).chain
            lowest = None if chain is None else prover.least(query, objective, chain).chain
            values.append(None if lowest is None else prover.value(objective, lowest))
        known = [value for value in values if value is not None]
        limit = limits.ttft if objective == "ttft" else limits.memory
        assert limit is not None
        return max(known) if known and len(known) == len(values) else limit

    def _polished(self, fleet: Fleet, objective: Objective, limits: Query) -> Fleet:
        """Give every group the chain with the least value of an objective at its width and load."""
        return Fleet(tuple(self._least(group, objective, limits) for group in fleet.groups))

    def _least(self, group: Group, objective: Objective, limits: Query) -> Group:
        width = group.chain.gpus(group.program)
        prover = self._provers.of(group.load, width, floor=False)
        if prover.value(objective, group.chain) is None:
            return group
        found = prover.least(replace(limits, gpus=width), objective, group.chain).chain
        return group if found is None else replace(group, chain=found)

    def _value(self, fleet: Fleet, objective: Objective) -> int | None:
        found = []
        for group in fleet.groups:
            prover = self._provers.of(group.load, group.chain.gpus(group.program), floor=False)
            found.append(prover.value(objective, group.chain))
        return max((value for value in found if value is not None), default=None)


def _limited(limits: Query, objective: Objective, value: int) -> Query:
    return replace(limits, ttft=value) if objective == "ttft" else replace(limits, memory=value)


def _allows(looser: Query, tighter: Query) -> bool:
    """Whether what keeps the tighter limits keeps the looser ones."""
    pairs = ((looser.ttft, tighter.ttft), (looser.memory, tighter.memory))
    return all(loose is None or (tight is not None and tight <= loose) for loose, tight in pairs)
