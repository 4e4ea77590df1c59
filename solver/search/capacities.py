"""How much load a replica of a given width carries: single questions to the exact search, remembered.

Who carries more carries less, and who does it with fewer GPUs does it with more: every answer serves its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from shardproof.formulations.deployment.chains import Chain
from shardproof.formulations.deployment.tables import Program
from shardproof.formulations.fleet.covering import Item, Load, Refused, reaches
from shardproof.formulations.fleet.fleet import Family
from shardproof.solver.proof.refutation import CapacityClaim
from shardproof.solver.search.lexicographic import AnyProver
from shardproof.solver.search.query import Answer, Objective, Query


class Maker(Protocol):
    """Makes the prover of a program."""

    def __call__(self, program: Program, *, floor: bool) -> AnyProver:
        """Return the prover."""


class Undecided(Protocol):
    """Decides what the exact search leaves open: a chain, or ``None`` (somebody claims there is none); may raise."""

    def __call__(self, program: Program, query: Query, answer: Answer, *, floor: bool) -> Chain | None:
        """Decide the cases that an answer leaves open."""


@dataclass
class Provers:
    """One prover for each replica program and rounding."""

    family: Family
    make: Maker
    _provers: dict[tuple[Load, int, bool], AnyProver] = field(default_factory=dict)

    def of(self, load: Load, widest: int, *, floor: bool) -> AnyProver:
        """Return the prover of one replica with its load."""
        program = self.family.replica_program(load, widest)
        key = (load, id(program), floor)
        if key not in self._provers:
            self._provers[key] = self.make(program, floor=floor)
        return self._provers[key]


Known = tuple[Program, Chain, Load]
"""The program of one replica, a chain of it, and the load that it carries."""


class Capacities:
    """What is known of loads and widths under one set of limits, on floor or on ceiling tables."""

    def __init__(self, provers: Provers, undecided: Undecided, *, floor: bool, limits: Query) -> None:
        """Take who answers; ``limits`` holds what the levels above have fixed (its GPUs say nothing)."""
        self._provers, self._undecided, self.floor, self.limits = provers, undecided, floor, limits
        self.claims: list[CapacityClaim] = []
        self._carried: dict[Item, Known] = {}

    @property
    def refused(self) -> list[Refused]:
        """Loads that are known to be too much."""
        return [Refused(claim.gpus, claim.load) for claim in self.claims]

    @property
    def carried(self) -> list[Item]:
        """Widths with loads that they are known to carry."""
        return list(self._carried)

    def add(self, claim: CapacityClaim) -> None:
        """Note a refused load, and forget what it implies."""
        if not self.is_refused(claim.gpus, claim.load):
            kept = (old for old in self.claims if old.gpus > claim.gpus or not reaches(old.load, claim.load))
            self.claims = [*kept, claim]

    def follow(self, looser: Capacities) -> None:
        """Take over what is refused under limits no tighter, with its trees, and what keeps these limits too."""
        for claim in looser.claims:
            self.add(claim)
        if self.floor == looser.floor:
            self._carried |= {item: known for item, known in looser._carried.items() if self._keeps(known)}

    def _keeps(self, known: Known) -> bool:
        """Whether a chain that is known to hold keeps the limits of this level."""
        program, chain, load = known
        prover = self._provers.of(load, chain.gpus(program), floor=self.floor)
        pairs: tuple[tuple[Objective, int | None], ...] = (("ttft", self.limits.ttft), ("memory", self.limits.memory))
        return all(limit is None or (prover.value(of, chain) or 0) <= limit for of, limit in pairs)

    def is_refused(self, gpus: int, load: Load) -> bool:
        """Whether it is known that ``gpus`` GPUs do not carry a load."""
        return any(claim.gpus >= gpus and reaches(load, claim.load) for claim in self.claims)

    def found(self, gpus: int, load: Load) -> Known | None:
        """Return what is known to carry at least a load with at most ``gpus`` GPUs."""
        for item, known in self._carried.items():
            if item.gpus <= gpus and reaches(item.load, load):
                return known
        return None

    def carries(self, gpus: int, load: Load) -> bool:
        """Whether a replica of at most ``gpus`` GPUs carries a load; asked for if not yet known."""
        if not any(load) or self.found(gpus, load) is not None:
            return True
        if self.is_refused(gpus, load):
            return False
        query = Query(gpus, self.limits.ttft, self.limits.memory, self.limits.ignored)
        prover = self._provers.of(load, gpus, floor=self.floor)
        answer = prover.decide(query)
        chain = answer.chain
        if chain is None and answer.unknown:
            chain = self._undecided(prover.program, query, answer, floor=self.floor)
        if chain is not None:
            self._carried[Item(chain.gpus(prover.program), load)] = (prover.program, chain, load)
            return True
        trees = None if answer.refutation is None else answer.refutation.trees
        self.add(CapacityClaim(gpus, load, tuple(prover.program.layouts), trees))
        return False
