"""`simulate`: a plan in service, played event by event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from shardproof.solver.api.fleets import fleet_from
from shardproof.solver.api.options import check_options
from shardproof.solver.api.predicted import asked_and_stated
from shardproof.solver.api.question import Fields, check_fields, shows_fields
from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.instance import Instance
    from shardproof.instances.plan import Plan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.api.predicted import AnyPlan
    from shardproof.solver.api.question import Question
    from shardproof.solver.simulation.outcome import Outcome


@dataclass(frozen=True, repr=False, eq=False)
class Simulated(Answered):
    """What the requests of each scenario saw, over all seeds."""

    instance: Instance | PoolsQuestion
    plan: Plan | FleetPlan
    outcomes: tuple[Outcome, ...]

    def plot(self, path: str | Path) -> None:
        """Draw queue, running requests and cache of the first scenario over time to a PNG or SVG file.

        Raises
        ------
        InputError
            If the file has another ending, or matplotlib is not installed.
        """
        from shardproof.solver.simulation.plot import draw

        draw(self.outcomes[0], Path(path))

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``simulate --json`` prints."""
        documents = [one.to_json() for one in self.outcomes]
        return documents[0] | ({"scenarios": documents} if len(documents) > 1 else {})

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each scenario, figure and percentile: value and 95 % interval over the seeds, ms."""
        from shardproof.solver.simulation.outcome import FIGURES, QUANTILES

        return [
            {"scenario": one.scenario, "figure": name, "at": "mean" if at is None else f"p{at}"}
            | {f"{end}_ms": getattr(found, end) / 1e6 for end in ("value", "low", "high")}
            for one in self.outcomes
            for name in FIGURES
            for at in (None, *QUANTILES)
            for found in (one.figure(name, at),)
        ]

    def __str__(self) -> str:
        """Return one line for each scenario."""
        return "\n".join(
            f"scenario {one.scenario}: {len(one.runs)} runs of {len(one.runs[0].served):,} requests, "
            f"{one.throughput()['requests_per_s']:.2f} requests/s"
            for one in self.outcomes
        )

    def __repr__(self) -> str:
        """Return one line."""
        return f"Simulated({len(self.outcomes)} scenarios)"


@shows_fields
def simulate(
    plan: AnyPlan,
    instance: Question | None = None,
    *,
    num_requests: int | None = None,
    seeds: int = 5,
    seed: int = 0,
    router: Literal["random", "round-robin", "least-loaded"] = "random",
    good: Mapping[str, str] | Sequence[str] = (),
    **fields: Unpack[Fields],
) -> Simulated:
    """Play a plan in service: percentiles of TTFT, TPOT, ITL and end-to-end time, goodput, queue and cache.

    Parameters
    ----------
    plan
        A `Plan`, an answer of `solve`, a mapping, the path of a plan in any form that `audit` reads, or an engine's
        command line.
    instance
        The question that the plan answers; may be left out for an answer of `solve`.
    num_requests, seeds, seed
        Requests of one run (enough for a 99th percentile without it), independent runs, seed of the first.
    router
        How requests find a replica.
    good
        Limits that a good request keeps, instead of the instance's: ``{"ttft": "2 s"}`` or ``["ttft:2s"]``.
    **fields
        What a flag of the command line says, under the flag's name.

    Raises
    ------
    InputError
        If plan, question, trace or a limit is wrong.
    """
    check_options("simulate", {name: value for name, value in locals().items() if name != "fields"})
    check_fields(fields, "simulate")
    from shardproof.solver.simulation.simulate import SimulationSettings
    from shardproof.solver.simulation.simulate import simulate as play

    settings = SimulationSettings(
        requests=num_requests,
        seeds=seeds,
        seed=seed,
        router=router,
        goodput=_limits(good),
    )
    fleet = fleet_from(plan, instance, fields)
    if fleet is not None:
        from shardproof.solver.pools.served import simulate_fleet

        return Simulated(*fleet, simulate_fleet(*fleet, settings))
    asked, wanted = asked_and_stated(plan, instance, dict(fields))
    return Simulated(asked, wanted, play(asked, wanted, settings))


def _limits(goodput: Mapping[str, str] | Sequence[str]) -> dict[str, float]:
    """Read limits of goodput, ns by figure."""
    from shardproof.instances.reading import refuse
    from shardproof.instances.units import floor, parse_quantity
    from shardproof.solver.simulation.outcome import FIGURES

    found: dict[str, float] = {}
    texts = [f"{name}:{limit}" for name, limit in goodput.items()] if isinstance(goodput, Mapping) else goodput
    for text in texts:
        name, _, limit = text.partition(":")
        try:
            if name not in FIGURES or name == "itl":
                raise ValueError("begins with ttft:, tpot: or e2e:, e.g. ttft:2s")
            found[name] = float(floor(parse_quantity(limit, "duration")))
        except ValueError as error:
            raise refuse("command line", str(error), field="--goodput", value=text) from None
    return found
