"""Answers to questions about several devices and models: the fleet, every form to look at it in, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.pools.result import FleetMetrics, FleetResult
    from shardproof.solver.result import Proof, Status
    from shardproof.solver.search.settings import Settings


@dataclass(frozen=True, repr=False, eq=False)
class SolvedFleet(Answered):
    """The answer to a question about pools: its fleet (or none), what is proved, and every form to look at it in."""

    instance: PoolsQuestion
    result: FleetResult

    @property
    def status(self) -> Status:
        """``optimal``, ``feasible``, ``infeasible`` or ``undecided``."""
        return self.result.status

    @property
    def proof(self) -> Proof:
        """Who vouches for the status: ``certified-...`` only for what the independent checker accepted."""
        return self.result.proof

    @property
    def gpus(self) -> int | None:
        """GPUs of the fleet."""
        return self.result.gpus

    @property
    def value(self) -> float | None:
        """Objective of the fleet, in its unit: GPUs, USD/h, W, or times the workload."""
        return self.result.shown(self.result.value)

    @property
    def bound(self) -> float | None:
        """No fleet has a better objective than this."""
        return self.result.shown(self.result.bound)

    @property
    def gap(self) -> float | None:
        """How far value and bound are apart, over the value."""
        return self.result.gap

    @property
    def plan(self) -> FleetPlan | None:
        """The fleet; ``None`` when none exists or none was found."""
        return self.result.plan

    @property
    def metrics(self) -> FleetMetrics | None:
        """GPUs, price, power and latencies of the fleet."""
        return self.result.metrics

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the question left open, in sentences."""
        return self.result.assumptions

    @property
    def exit_code(self) -> int:
        """0 a fleet, 1 none exists, 3 undecided."""
        return self.result.exit_code

    def certificate(self) -> dict[str, Any] | None:
        """Return the certificate that `shardproof.verify` accepts; ``None`` where nothing was proved."""
        from shardproof.solver.pools.certificate import document
        from shardproof.solver.pools.solve import unproven

        outcome = self.result.evidence.outcome
        if self.status == "undecided" or (outcome.tree is None and outcome.fleet is None):
            return None
        return None if unproven(self.result.evidence.programs) else document(self.result.evidence)

    def certificates(self) -> dict[str, dict[str, Any]]:
        """Return the certificate by a name."""
        found = self.certificate()
        return {} if found is None else {"fleet": found}

    def text(self, *, colour: bool = False) -> str:
        """Return the answer laid out for a terminal."""
        from shardproof.solver.writers.fleet import render_fleet

        del colour
        return render_fleet(self.instance, self.result)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``solve --json`` prints."""
        return self.result.to_json()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each group of alike replicas."""
        return list(_rows(self.plan))

    def __str__(self) -> str:
        """Return the first two lines of `text`."""
        return "\n".join(self.text().splitlines()[:2])

    def __repr__(self) -> str:
        """Return one line."""
        return f"SolvedFleet({self.status}, {self.result.objective}={self.value}, gpus={self.gpus})"


def _rows(plan: FleetPlan | None) -> Iterator[dict[str, Any]]:
    for place, group in enumerate(() if plan is None else plan.groups):
        row = {"group": place, "offer": group.offer, "device": group.device, "model": group.model}
        row |= {"replicas": group.replicas, "gpus_each": group.gpus_each, "gpus": group.gpus}
        yield row | {f"{one.name}_each": one.requests or one.rate_per_s for one in group.takes}


def solved_fleet(question: PoolsQuestion, settings: Settings) -> SolvedFleet:
    """Solve a question about pools."""
    from shardproof.solver.pools.solve import solve_pools

    return SolvedFleet(question, solve_pools(question, settings))
