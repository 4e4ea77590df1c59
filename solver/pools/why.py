"""Why a fleet is no cheaper, what binds it, and at which prices the answer changes: the same search, asked again.

What is known of capacities stays known, so that a question with another supply, limit or price asks little anew. Values
here are optima of the program on floor tables, found in floats and judged in integers; only the answer itself carries
a certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from shardproof.formulations.pools.problem import Kind, Limit, PoolsProblem, Supply
from shardproof.formulations.pools.split import split
from shardproof.instances.clock import now
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.units import format_gpus
from shardproof.solver.pools.knowledge import Knowledge, Searched, Table
from shardproof.solver.pools.outcome import Asked, PoolsSettings, Pursuit
from shardproof.solver.pools.phases import by_phase, phase_of, shown
from shardproof.solver.pools.result import FleetResult
from shardproof.solver.pools.search import OutOfTimeError, PoolsSearch, Realised
from shardproof.solver.pools.work import Work
from shardproof.solver.search.query import Interrupted

WITHIN_S = 20.0
"""Seconds for all questions of an explanation."""
PLAYED_WITHIN_S = 120.0
"""The same where other fleets are played."""
MOST_STEPS = 40
AT_ITS_PACE = "other fleets here are planned for the pace of this one, and were not played"
FURTHEST = 64
"""Multiple of a price up to which it is asked whether another fleet is cheaper."""


Step = Callable[["PoolsQuestion", "FleetResult", "Again", PoolsProblem], Iterator[str]]


@dataclass
class Again:
    """Asks a question again with another problem; ``stop_at``: when to give up."""

    work: Work
    stop_at: float

    def knowledge(self, base: PoolsProblem) -> Knowledge:
        """Return what is known, about another problem of the same demands."""
        if not self.work.pools:
            return Table(base)
        self.work.clock.stop_at = self.stop_at
        return Searched(base, self.work.pools, floor=not self.work.is_played)

    def fleet(self, base: PoolsProblem) -> Realised | None:
        """Return the cheapest fleet of another problem; where requests come by themselves, one that was played.

        Raises
        ------
        OutOfTimeError
            If the time is over before that.
        """
        while True:
            search = PoolsSearch(self.knowledge(base), stop_at=self.stop_at, alike=self.work.alike)
            found = search.run()
            made = found if found is None else self.made(search, found)
            if found is None or made is not None:
                return made

    def made(self, search: PoolsSearch, fleet: Realised | None) -> Realised | None:
        """Return a fleet that holds in service (``None``: this one does not, which is known from now on).

        Raises
        ------
        OutOfTimeError
            If the time is over before that is known.
        """
        del search
        if fleet is None or not self.work.is_played:
            return fleet
        try:
            return self.work.made(fleet)
        except Interrupted:
            raise OutOfTimeError from None

    def value(self, base: PoolsProblem) -> int | None:
        """Return the least cost of another problem (``None``: there is no fleet)."""
        found = self.fleet(base)
        return None if found is None else found.cost

    def share(self, base: PoolsProblem, resolution: int = 100) -> tuple[Fraction, Realised | None] | None:
        """Return the largest part of the demand that is carried, and a fleet for it (``None``: not found out)."""
        left = self.stop_at - now()
        if left <= 0:
            return None
        asked = Asked(base.demand, most_load=True, resolution=resolution)
        found = Pursuit(self.knowledge(base), asked, PoolsSettings(left, 1), self.made).run()
        if found.out_of_time:
            return None
        return Fraction(found.value or 0, resolution), found.fleet


def reasons(question: PoolsQuestion, result: FleetResult, seconds: float | None = None) -> tuple[str, ...]:
    """Say what binds a fleet and what a cheaper one could do; without a fleet, how much can be carried at all."""
    seconds = seconds or within(result)
    again, found = Again(result.work, now() + seconds), list[str]()
    base = result.work.base
    steps: tuple[Step, ...] = (_most, _nothing) if result.value is None else (_rate, by_phase, _cheaper, _binding)
    if result.work.is_played and result.value is not None:
        steps = (_rate, _binding, _cheaper)  # what carries most is asked of many fleets, each of them played
    for step in (_wanting,) if question.objective == "load" else steps:
        try:
            found.extend(step(question, result, again, base))
        except OutOfTimeError:
            found.append(f"further reasons take longer than {seconds:.2g} s to find")
            break
    if question.is_paced and result.value is not None:
        found.append(AT_ITS_PACE)
    return tuple(found)


def within(result: FleetResult) -> float:
    """Seconds for all questions about an answer."""
    return PLAYED_WITHIN_S if result.work.is_played else WITHIN_S


def fleet_words(question: PoolsQuestion, fleet: Realised) -> str:
    """Write a fleet in a line: replicas, width and offer of each group."""
    parts = []
    for kind, count in fleet.groups:
        parts.append(f"{count} x {format_gpus(kind.gpus)} of {question.offers[kind.offer].name}")
    return ", ".join(parts)


def _rate(question: PoolsQuestion, result: FleetResult, again: Again, base: PoolsProblem) -> Iterator[str]:
    """Each group on its own: what its replicas carry for what they cost."""
    del again, base
    fleet = result.outcome.fleet
    if fleet is None:
        return
    for at, (kind, count) in enumerate(fleet.groups):
        single = fleet.problem.with_kinds([kind])
        cost = single.cost_of([1] + [0] * (single.variables - 1))
        if not cost:
            continue
        carried = {
            question.title(s): Fraction(max(load[s] for load in kind.loads), fleet.problem.demand[s])
            for s in range(len(question.names))
            if any(load[s] for load in kind.loads)
        }
        most = ", ".join(f"{float(part):.1%} of {name}" for name, part in carried.items() if part)
        most = most.replace(", ", " or ") if len(kind.loads) > 1 else most
        phase = phase_of(question, kind)
        replicas = f"{phase} replicas" if phase else "replicas"
        yield f"group {at}: each of {count} {replicas} costs {shown(question, cost)} and carries {most}"


def _cheaper(question: PoolsQuestion, result: FleetResult, again: Again, base: PoolsProblem) -> Iterator[str]:
    """What the best fleet that costs less can carry."""
    assert result.value is not None
    rates = tuple(supply.cost for supply in base.supplies)
    less = Limit("less", rates, result.value - base.step)
    found = again.share(replace(base, limits=(*base.limits, less)))
    if found is None:
        return
    share, fleet = found
    words = "" if fleet is None else f" ({fleet_words(question, fleet)}, {shown(question, fleet.cost)})"
    least = shown(question, result.value)
    yield f"a fleet that costs less than {least} carries at most {float(share):.0%} of the demand{words}"


def _binding(question: PoolsQuestion, result: FleetResult, again: Again, base: PoolsProblem) -> Iterator[str]:
    """Supplies, limits and spares: what the answer would be with one of them less strict."""
    assert result.value is not None
    for name, looser in looser_problems(question, base):
        value = again.value(looser)
        if value is not None and value < result.value:
            yield f"{name}: {shown(question, value)} instead of {shown(question, result.value)}"
    for place, supply in enumerate(base.supplies):
        if len(base.supplies) > 1 and any(kind.offer == place for kind, _ in _groups(result)):
            value = again.value(without(base, place))
            other = "there is no fleet" if value is None else shown(question, value)
            yield f"without {supply.name}: {other}"


def _groups(result: FleetResult) -> Sequence[tuple[Kind, int]]:
    fleet = result.outcome.fleet
    return () if fleet is None else fleet.groups


def _wanting(question: PoolsQuestion, result: FleetResult, again: Again, base: PoolsProblem) -> Iterator[str]:
    """What would raise the most load."""
    value = Fraction(result.value or 0, question.resolution)
    for name, looser in looser_problems(question, base):
        found = again.share(looser, question.resolution)
        if found is not None and found[0] > value:
            yield f"{name}: {float(found[0]):.10g} times the workload instead of {float(value):.10g}"


def _nothing(question: PoolsQuestion, result: FleetResult, again: Again, base: PoolsProblem) -> Iterator[str]:
    """What would allow a fleet."""
    del result
    for name, looser in looser_problems(question, base):
        value = again.value(looser)
        if value is not None:
            yield f"{name}: a fleet exists, at {shown(question, value)}"


def _most(question: PoolsQuestion, result: FleetResult, again: Again, base: PoolsProblem) -> Iterator[str]:
    """How much of the demand can be carried."""
    del question, result
    found = again.share(base)
    if found is not None:
        yield f"these offers carry at most {float(found[0]):.0%} of the demand"


def looser_problems(question: PoolsQuestion, base: PoolsProblem) -> Iterator[tuple[str, PoolsProblem]]:
    """Yield every supply, limit, spare and placement a little looser, with the words for it."""
    for place, supply in enumerate(base.supplies):
        if supply.nodes is not None:
            more = replace(supply, nodes=((supply.node, 1), *supply.nodes))
            supplies = (*base.supplies[:place], more, *base.supplies[place + 1 :])
            limits = tuple(
                replace(limit, top=limit.top + supply.node) if limit.name == "max_gpus" else limit
                for limit in base.limits
            )
            yield f"with one more node of {supply.name}", replace(base, supplies=supplies, limits=limits)
    for place, limit in enumerate(base.limits):
        stocked = limit.name == "max_gpus" and all(stock.nodes is not None for stock in question.offers)
        if not stocked:
            raised = (*base.limits[:place], replace(limit, top=2 * limit.top), *base.limits[place + 1 :])
            yield f"with twice {limit.name}", replace(base, limits=raised)
    if base.spare is not None:
        yield f"with nothing spare (no {base.spare} may be gone)", replace(base, spare=None, gone=1)
        if base.gone > 1:
            yield f"with {base.gone - 1} of {base.spare}s to be gone at most", replace(base, gone=base.gone - 1)
    if base.placement == "whole-nodes":
        yield "with replicas packed into nodes", replace(base, placement="packed")


def without(base: PoolsProblem, place: int) -> PoolsProblem:
    """Return the problem without what an offer has."""
    supply = base.supplies[place]
    nothing = Supply(supply.name, supply.node, (), supply.cost, supply.by_node)
    return replace(base, supplies=(*base.supplies[:place], nothing, *base.supplies[place + 1 :]))


@dataclass(frozen=True)
class PriceRange:
    """Objective per GPU of an offer between which this fleet stays the cheapest (``None``: no end); ``used``: by it.

    ``late``: ends (``lowest``, ``highest``) that there was no time for.
    """

    offer: str
    used: int
    now: int
    lowest: Fraction | None
    highest: Fraction | None
    late: tuple[str, ...] = ()


def price_ranges(question: PoolsQuestion, result: FleetResult) -> tuple[PriceRange, ...]:
    """Return for every offer at which price the answer changes; exact, by cutting lines at each other.

    The least cost is concave in one price and a line for each fleet: where the line of another fleet cuts that of this
    one, the cheapest fleet there is asked for, until it is no cheaper.
    """
    fleet = result.outcome.fleet
    if fleet is None or question.objective == "load":
        return ()
    base, end, found = result.work.base, now() + within(result), []
    sides = (("lowest", (Fraction(1, 2), Fraction(0))), ("highest", (Fraction(2), Fraction(FURTHEST))))
    todo = len(sides) * len(base.supplies)
    for place, supply in enumerate(base.supplies):
        ends, late = dict[str, Fraction | None](), list[str]()
        for side, times in sides:
            again = Again(result.work, now() + (end - now()) / todo)
            todo -= 1
            try:
                ends[side] = _first_end(again, base, fleet, place, [one * max(1, supply.cost) for one in times])
            except OutOfTimeError:
                late.append(side)
        used, low, high = paid_gpus(fleet, place), ends.get("lowest"), ends.get("highest")
        found.append(PriceRange(supply.name, used, supply.cost, low, high, tuple(late)))
    return tuple(found)


def _first_end(
    again: Again, base: PoolsProblem, fleet: Realised, place: int, starts: Sequence[Fraction]
) -> Fraction | None:
    """Return the end from the nearest start at which another fleet is cheaper: prices close by ask for little."""
    ends = (_end(again, base, fleet, place, start) for start in starts)
    return next((end for end in ends if end is not None), None)


def paid_gpus(fleet: Realised, place: int) -> int:
    """GPUs of an offer that a fleet pays."""
    rates = [int(at == place) for at in range(len(fleet.problem.supplies))]
    return sum(rate * fleet.values[at] for at, rate in fleet.problem.paid(rates).items())


def _end(again: Again, base: PoolsProblem, fleet: Realised, place: int, start: Fraction) -> Fraction | None:
    """Return the price nearest to today's, towards ``start``, at which another fleet is no dearer; ``None``: none."""
    own, price, now = paid_gpus(fleet, place), start, base.supplies[place].cost
    rest = fleet.cost - own * now
    last: Fraction | None = None
    for _ in range(MOST_STEPS):
        scaled = _priced(base, place, price)
        other = again.fleet(scaled)
        if other is None:
            return last
        theirs = paid_gpus(other, place)
        other_rest = Fraction(other.cost, price.denominator) - theirs * price
        if rest + own * price <= other_rest + theirs * price:
            return last
        price = last = Fraction(other_rest - rest, own - theirs)
    return last


def _priced(base: PoolsProblem, place: int, price: Fraction) -> PoolsProblem:
    """Return the problem at another price of an offer, all costs times its denominator."""
    supplies = tuple(
        replace(supply, cost=price.numerator if at == place else supply.cost * price.denominator)
        for at, supply in enumerate(base.supplies)
    )
    return replace(base, supplies=supplies)


def growth(question: PoolsQuestion, result: FleetResult) -> Fraction | None:
    """Return how many times the demand this fleet carries, all demands growing alike (``None``: it is not known)."""
    fleet = result.outcome.fleet
    if fleet is not None and result.work.all_played:
        return result.work.growth(fleet)
    if fleet is None or question.pools:
        return None
    used = [place for place, _ in enumerate(fleet.problem.kinds) if fleet.values[place]]
    kinds = [fleet.problem.kinds[place] for place in used]
    return split(fleet.problem.demand, kinds, [fleet.values[place] for place in used]).multiple
