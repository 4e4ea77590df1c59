"""Answers to questions about several devices and models: the fleet, every form to look at it in, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.solver.api.record import Answered

if TYPE_CHECKING:
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.solver.pools.held import HeldPlan
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
        from shardproof.solver.pools.solve import certificate_document

        return certificate_document(self.instance, self.result)

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


def fleet_from(plan: object, instance: object, fields: Mapping[str, Any]) -> tuple[PoolsQuestion, FleetPlan] | None:
    """Return the question about pools and the fleet plan that a verb on plans is given; ``None``: it is no fleet's.

    Raises
    ------
    InputError
        If either is wrong, or an answer holds no fleet.
    """
    from shardproof.instances.errors import InputError
    from shardproof.instances.fleet_plan import FleetPlan
    from shardproof.instances.pools import PoolsQuestion
    from shardproof.instances.reading import read_mapping, validate
    from shardproof.solver.api.question import asked_from, asks_about_pools

    if isinstance(plan, SolvedFleet):
        if plan.plan is None:
            raise InputError("the answer holds no fleet")
        return plan.instance, plan.plan
    if isinstance(instance, PoolsQuestion):
        asked: PoolsQuestion = instance
    elif isinstance(instance, str | Path | Mapping) and asks_about_pools(instance, fields):
        found = asked_from(instance, fields)
        assert isinstance(found, PoolsQuestion)
        asked = found
    else:
        return None
    if isinstance(plan, FleetPlan):
        return asked, plan
    tree: Any = plan if isinstance(plan, Mapping) else read_mapping(Path(str(plan)))
    inner = tree.get("plan")
    where = "plan" if isinstance(plan, Mapping) else str(plan)
    return asked, validate(FleetPlan, inner if isinstance(inner, dict) else tree, where=where)


@dataclass(frozen=True, repr=False, eq=False)
class ExplainedFleet(Answered):
    """What a fleet's groups carry for what they cost, what binds it, and what a cheaper one could do."""

    instance: PoolsQuestion
    result: FleetResult
    reasons: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 a fleet, 1 none exists, 3 undecided."""
        return self.result.exit_code

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``explain --json`` prints."""
        shown = self.result.shown
        found = {"status": self.result.status, "proof": self.result.proof, "objective": self.result.objective}
        values = {"value": shown(self.result.value), "bound": shown(self.result.bound)}
        return found | values | {"gpus": self.result.gpus, "reasons": list(self.reasons)}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each sentence."""
        return [{"kind": "reason", "sentence": sentence} for sentence in self.reasons]

    def __str__(self) -> str:
        """Return the sentences, one a line."""
        from shardproof.solver.result import HOW_SURE
        from shardproof.solver.writers.fleet import written

        result = self.result
        if result.value is None:
            head = f"{self.instance.name}: no fleet ({result.status}, {HOW_SURE[result.proof]})."
        else:
            word = "more" if result.objective == "load" else "less"
            value = written(result, result.value)
            head = f"{self.instance.name}: {result.objective} {value}; {word} is impossible ({HOW_SURE[result.proof]}):"
            if result.status != "optimal":
                bound = written(result, result.bound)
                head = f"{self.instance.name}: {result.objective} {value}, bound {bound} ({HOW_SURE[result.proof]}):"
        return "\n".join([head, *(f"  - {reason}." for reason in self.reasons)])

    def __repr__(self) -> str:
        """Return one line."""
        return f"ExplainedFleet({self.result.status}, {len(self.reasons)} sentences)"


def explained_fleet(question: PoolsQuestion, settings: Settings | None = None) -> ExplainedFleet:
    """Solve a question about pools and say why the answer is what it is."""
    from shardproof.solver.pools.solve import solve_pools
    from shardproof.solver.pools.told import tell_of
    from shardproof.solver.pools.why import reasons

    result = solve_pools(question, settings)
    tell_of(question, result, "what binds it, and what less would carry")
    return ExplainedFleet(question, result, reasons(question, result))


@dataclass(frozen=True, repr=False, eq=False)
class FleetSensitivity(Answered):
    """Between which prices (GPUs, power) of each offer this fleet stays the cheapest; prices of one GPU in the unit.

    ``growth``: how many times the demand it carries, where capacities are given as data or were played; ``limits``: how
    tight each limit may become before pools apart that were played miss it, ns (a share, of goodput). An offer's
    ``late``: ends that there was no time for.
    """

    instance: PoolsQuestion
    result: FleetResult
    offers: tuple[Mapping[str, Any], ...]
    growth: float | None = None
    limits: tuple[Mapping[str, Any], ...] = ()

    @property
    def exit_code(self) -> int:
        """0 a fleet, 1 none exists, 3 undecided."""
        return self.result.exit_code

    @property
    def plan(self) -> FleetPlan | None:
        """The fleet whose prices move."""
        return self.result.plan

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``sensitivity --json`` prints."""
        value = self.result.shown(self.result.value)
        found: dict[str, Any] = {"status": self.result.status, "objective": self.result.objective, "value": value}
        found |= {"growth": self.growth, "offers": [dict(offer) for offer in self.offers]}
        return found | ({"limits": [dict(limit) for limit in self.limits]} if self.limits else {})

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each offer."""
        return self.offers

    def __str__(self) -> str:
        """Return one line for each offer."""
        from shardproof.solver.pools.told import UNITS

        if self.result.value is None:
            return f"no fleet to worsen: {self.result.status}; `shardproof explain` says why"
        if not self.offers and self.growth is None and not self.limits:
            return f"objective {self.result.objective}: no price decides; `shardproof explain` says what binds"
        unit = UNITS[self.result.objective][0]
        lines = [f"{self.instance.name}: this fleet stays the best while, each price on its own,"]
        for offer in self.offers:
            low = "0" if offer["lowest"] is None else f"{offer['lowest']:.6g}"
            high = "any price" if offer["highest"] is None else f"{offer['highest']:.6g}"
            low, high = ("?" if end in offer["late"] else said for end, said in (("lowest", low), ("highest", high)))
            used = f"{offer['gpus']} GPUs" if offer["gpus"] else "not used"
            lines.append(f"  - {offer['offer']} ({used}) costs {low} to {high} {unit} a GPU, now {offer['now']:.6g}")
        if self.growth is not None:
            lines.append(f"  - the demand grows to no more than {self.growth:.4g} times what it is")
        if self.limits:
            from shardproof.solver.pools.slack import in_words
            from shardproof.solver.pools.why import AT_ITS_PACE

            lines += [f"  - {line}" for line in in_words(self.limits)]
            lines.append(f"  - {AT_ITS_PACE}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return one line."""
        return f"FleetSensitivity({self.result.status}, offers={len(self.offers)})"


def fleet_sensitivity(question: PoolsQuestion) -> FleetSensitivity:
    """Solve a question about pools and find the prices at which the answer changes."""
    from shardproof.solver.pools.solve import solve_pools
    from shardproof.solver.pools.told import UNITS, tell_of
    from shardproof.solver.pools.why import growth, price_ranges

    result = solve_pools(question)
    tell_of(question, result, "how far prices, limits and demand may move")
    more = growth(question, result)
    scale = UNITS[question.objective][1]
    offers = tuple(
        {
            "offer": found.offer,
            "gpus": found.used,
            "now": found.now / scale,
            "lowest": None if found.lowest is None else float(found.lowest) / scale,
            "highest": None if found.highest is None else float(found.highest) / scale,
            "late": list(found.late),
        }
        for found in price_ranges(question, result)
    )
    limits: tuple[Mapping[str, Any], ...] = ()
    if question.is_paced and result.plan is not None:
        from shardproof.solver.pools.slack import played_growth, played_limits

        more, limits = played_growth(question, result), played_limits(question, result.plan)
    return FleetSensitivity(question, result, offers, None if more is None else float(more), limits)


@dataclass(frozen=True, repr=False, eq=False)
class ComparedFleets(Answered):
    """Fleet plans beside the best fleet: what each costs, and everything that it breaks."""

    instance: PoolsQuestion
    result: FleetResult
    plans: tuple[HeldPlan, ...]

    @property
    def exit_code(self) -> int:
        """0 every plan holds, 4 one breaks something; without a fleet that of `solve`."""
        if any(plan.broken for plan in self.plans):
            return 4
        return self.result.exit_code

    def document(self) -> None:
        """No Markdown document is written of a fleet."""

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``compare --json`` prints."""
        plans = [{"plan": plan.name, "value": plan.value, "broken": list(plan.broken)} for plan in self.plans]
        best = self.result.shown(self.result.value)
        return {"objective": self.result.objective, "best": best, "proof": self.result.proof, "plans": plans}

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return one row for each plan, the best fleet last."""
        best = self.result.shown(self.result.value)
        own = [{"plan": plan.name, "value": plan.value, "broken": "; ".join(plan.broken)} for plan in self.plans]
        return [*own, {"plan": "the best", "value": best, "broken": ""}]

    def __str__(self) -> str:
        """Return a few lines for each plan."""
        from shardproof.solver.pools.held import in_words
        from shardproof.solver.writers.fleet import written

        best = self.result.shown(self.result.value)
        lines = [line for plan in self.plans for line in in_words(self.instance, plan, best)]
        return "\n".join([*lines, f"the best: {written(self.result, self.result.value)} ({self.result.proof})"])

    def __repr__(self) -> str:
        """Return one line."""
        return f"ComparedFleets({len(self.plans)} plans, best={self.result.shown(self.result.value)})"


def compared_fleets(optimum: SolvedFleet, plans: Sequence[tuple[str, FleetPlan]]) -> ComparedFleets:
    """Hold plans against the question of a fleet."""
    from shardproof.solver.pools.held import held

    found = tuple(held(optimum.instance, plan, name) for name, plan in plans)
    return ComparedFleets(optimum.instance, optimum.result, found)
