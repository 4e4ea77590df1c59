"""A fleet plan that somebody wrote, held against its question: what it costs, and everything that it breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from shardproof.formulations.pools.build import problem_of
from shardproof.instances.errors import InputError
from shardproof.instances.fleet_plan import FleetGroup, FleetPlan
from shardproof.instances.pools import PoolsQuestion
from shardproof.solver.open_loop.evaluated import evaluate_any
from shardproof.solver.open_loop.shown import said
from shardproof.solver.pools.fleet_plans import group_instance, group_plan, metrics_of
from shardproof.solver.pools.losses import without_nodes, without_replicas
from shardproof.solver.pools.result import FleetMetrics
from shardproof.solver.pools.steady_plans import Shown, played_metrics
from shardproof.solver.pools.steady_play import FleetService
from shardproof.solver.pools.told import UNITS

EVEN = 1 - 1e-9
"""Part of a rate that counts as all of it: rates stand in plans as floats."""


@dataclass(frozen=True)
class Broken:
    """One thing that a fleet breaks; ``group``: what kind of thing it is; ``value`` against ``limit`` in ``unit``."""

    text: str
    group: str
    index: str = ""
    value: float | None = None
    limit: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class HeldPlan:
    """A plan's name, its figures, its objective in the unit (of load: the multiple it carries), and what it breaks."""

    name: str
    metrics: FleetMetrics
    value: float | None
    violations: tuple[Broken, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """What it breaks, in words."""
        return tuple(one.text for one in self.violations)


def held(question: PoolsQuestion, plan: FleetPlan, name: str) -> HeldPlan:
    """Hold a plan against its question.

    Raises
    ------
    InputError
        If a group stands on an offer or in a pool that the question does not have.
    """
    known = {stock.name for stock in question.offers}
    pools = {pool.name for pool in question.pools}
    for place, group in enumerate(plan.groups):
        if group.offer not in known or (question.pools and group.pool not in pools):
            raise InputError(f"{name}: groups.{place}: {group.pool or group.offer}: is no pool of {question.name}")
    carried = carried_by_takes(question, plan)
    shown = _shown(question, plan, carried)
    metrics = metrics_of(question, plan) if shown is None else played_metrics(question, plan, shown)
    broken = (
        *(_groups(question, plan)),
        *_limits(question, metrics),
        *_nodes(question, plan),
        *(_short(carried) if question.objective != "load" else ()),
        *(_spared(question, plan)),
        *(() if shown is None else _in_service(shown)),
    )
    return HeldPlan(name, metrics, _value(question, metrics, carried), broken)


def _value(question: PoolsQuestion, metrics: FleetMetrics, carried: dict[str, float]) -> float | None:
    if question.objective == "load":
        return min(carried.values())
    found = {"gpus": float(metrics.gpus), "price": metrics.price_per_hour, "power": metrics.watts}
    return found[question.objective]


def carried_by_takes(
    question: PoolsQuestion, plan: FleetPlan, replicas: tuple[int, ...] | None = None
) -> dict[str, float]:
    """Part of each demand that the groups take together; ``replicas``: those that are left of each group."""
    sums = [0.0] * len(question.names)
    for place, group in enumerate(plan.groups):
        count = group.replicas if replicas is None else replicas[place]
        for one in group.takes:
            for at in _counts(question, group, one.name):
                sums[at] += count * (one.requests or one.rate_per_s or 0)
    return {name: sums[at] / float(question.demand[at]) for at, name in enumerate(question.names)}


def _counts(question: PoolsQuestion, group: FleetGroup, name: str) -> Iterator[int]:
    """Demands that a request which a group takes counts for: those of its pool."""
    for pool in question.pools:
        if pool.name == group.pool:
            yield from (at for places in pool.counts for at in places if question.title(at) == name)
    if not question.pools:
        yield from (at for at, known in enumerate(question.names) if known == name)


def _short(carried: dict[str, float]) -> Iterator[Broken]:
    for name, part in carried.items():
        if part < EVEN:
            yield Broken(f"{part:.1%} of {name} is carried", "demand", name, part, 1, "of the demand")


def _groups(question: PoolsQuestion, plan: FleetPlan) -> Iterator[Broken]:
    """Limits that a group's own plan breaks, or a row of the table that says otherwise."""
    for place, group in enumerate(plan.groups):
        if question.rates:
            yield from _measured(question, group, place)
        elif group.plan is None:
            yield Broken(f"group {place}: says no stages", "stages", f"group={place}")
        else:
            own = group_plan(question, group)
            found = evaluate_any(group_instance(question, group), own or group.plan)
            for one in found.violations:
                text = f"group {place}: {one.group}[{one.index}]: {one.value} {one.unit}, limit {one.limit}"
                yield Broken(text, one.group, f"group={place}, {one.index}", one.value, one.limit, one.unit)
            if group.plan.gpus != group.gpus:
                text = f"group {place}: {group.gpus} GPUs are said, its stages have {group.plan.gpus}"
                yield Broken(text, "gpus", f"group={place}", group.gpus, group.plan.gpus, "GPUs")


def _measured(question: PoolsQuestion, group: FleetGroup, place: int) -> Iterator[Broken]:
    """Time of a replica that its rates take, by the best row of the table."""
    offer = next(at for at, stock in enumerate(question.offers) if stock.name == group.offer)
    rows = [rates for at, gpus, rates in question.rates if (at, gpus) == (offer, group.gpus_each)]
    taken = {one.name: one.rate_per_s or 0.0 for one in group.takes}
    busy = [
        sum(
            taken.get(name, 0.0) / float(rate) if rate else float("inf") * bool(taken.get(name))
            for name, rate in zip(question.names, rates, strict=True)
            if taken.get(name)
        )
        for rates in rows
    ]
    if not busy or min(busy) > 1 / EVEN:
        text = f"group {place}: a replica of {group.gpus_each} GPUs of {group.offer} does not serve these rates"
        yield Broken(text, "capacity", f"group={place}", min(busy, default=None), 1, "of its time")


def _limits(question: PoolsQuestion, metrics: FleetMetrics) -> Iterator[Broken]:
    if metrics.gpus > question.max_gpus:
        text = f"max_gpus: {metrics.gpus} GPUs, limit {question.max_gpus}"
        yield Broken(text, "max_gpus", "fleet", metrics.gpus, question.max_gpus, "GPUs")
    top, price = question.max_price, metrics.price_per_hour
    if top is not None and price is not None and round(price * 10**6) > top:
        text = f"price_per_hour: {price:.6g} USD/h, limit {top / 10**6:.6g}"
        yield Broken(text, "price_per_hour", "fleet", price, top / 10**6, "USD/h")


def _nodes(question: PoolsQuestion, plan: FleetPlan) -> Iterator[Broken]:
    """Nodes that there are not, and replicas that do not stand in them as they must."""
    problem = problem_of(question)
    for supply in problem.supplies:
        own = [node for node in plan.nodes if node.offer == supply.name]
        stock = Counter(dict(supply.nodes or ()))
        used = Counter(node.gpus for node in own)
        if supply.nodes is not None and used - stock:
            text = f"{supply.name}: {sum(used.values())} nodes are used, {supply.node_count} are there"
            yield Broken(text, "supply", supply.name, sum(used.values()), supply.node_count, "nodes")
        for node in own:
            gpus = [gpu for seat in node.seats for gpu in seat.gpus]
            if len(set(gpus)) < len(gpus) or any(not 0 <= gpu < node.gpus for gpu in gpus):
                text = f"{supply.name} node {node.node}: a GPU is taken twice, or is none"
                yield Broken(text, "seats", f"{supply.name}, node={node.node}")
            if question.placement == "whole-nodes" and len(node.seats) > 1:
                text = f"{supply.name} node {node.node}: {len(node.seats)} replicas share it"
                yield Broken(text, "placement", f"{supply.name}, node={node.node}", len(node.seats), 1, "replicas")
    seated = Counter((seat.group, seat.replica) for node in plan.nodes for seat in node.seats for _ in seat.gpus)
    for place, group in enumerate(plan.groups):
        if [seated[place, replica] for replica in range(group.replicas)] != [group.gpus_each] * group.replicas:
            yield Broken(
                f"group {place}: a replica does not stand in a node with all of its GPUs", "seats", f"group={place}"
            )


def _spared(question: PoolsQuestion, plan: FleetPlan) -> Iterator[Broken]:
    """Demands that are not carried when something is gone (shares as they are; tables: not split again)."""
    if question.spare is None or question.rates or question.objective == "load":
        return
    counts = [group.replicas for group in plan.groups]
    if question.spare == "node":
        gone = [{(seat.group, seat.replica) for seat in node.seats} for node in plan.nodes]
        held = [tuple(sum(at == place for at, _ in lost) for place in range(len(counts))) for lost in gone]
        cases = without_nodes(counts, held, question.gone)
    else:
        cases = without_replicas(counts, question.gone)
    word = f"a {question.spare}" if question.gone == 1 else f"{question.gone} {question.spare}s"
    verb = "is" if question.gone == 1 else "are"
    for one in dict.fromkeys(one for left in cases for one in _short(carried_by_takes(question, plan, left))):
        yield replace(one, text=f"when {word} {verb} gone, {one.text}", group="spare")


def _shown(question: PoolsQuestion, plan: FleetPlan, carried: dict[str, float]) -> Shown | None:
    """Play pools apart whose requests keep coming (``None``: there are none)."""
    if not question.is_paced or any(group.plan is None for group in plan.groups):
        return None
    steps = int(min(carried.values()) * question.resolution / EVEN) if question.objective == "load" else None
    return Shown.of(question, plan, FleetService(question), None if steps is None else max(1, steps))


def _in_service(shown: Shown) -> Iterator[Broken]:
    """Limits that pools apart miss when they are played, whatever is gone."""
    found = dict[tuple[str, str], Broken]()
    for one in shown.verdicts:
        if not one.kept:
            unit = "share" if one.limit_name == "goodput" else "ns"
            (text,) = said([one])
            broken = Broken(text, one.limit_name, f"scenario={one.scenario}", one.found.value, one.limit, unit)
            found.setdefault((one.scenario, one.limit_name), broken)
    yield from found.values()


def in_words(question: PoolsQuestion, plan: HeldPlan, best: float | None) -> list[str]:
    """Say what a plan costs beside the best, and what it breaks."""
    unit = UNITS[question.objective][0]
    value = "not known" if plan.value is None else f"{plan.value:.6g} {unit}"
    lines = [f"{plan.name}: {question.objective} {value}, {plan.metrics.gpus} GPUs"]
    if best is not None and plan.value is not None and not plan.broken:
        more = best - plan.value if question.objective == "load" else plan.value - best
        lines.append(f"  {more:.6g} {unit} from the best" if more > 1e-9 else "  none is better")
    return [*lines, *(f"  breaks {text}" for text in plan.broken)]
