r"""Several devices, prefill and decode apart, requests that keep coming: one question of fixed loads for each pace.

By Little's law a share of the requests at a mean time per token :math:`\tau` is a number of prompts a second and a
number of requests that decode at once (`shardproof.formulations.apart.phases`). Both are written in units of the
demand, requests in flight of a closed loop or requests a second, so that phases and replicas of both add up:

.. math:: \text{a prompt within a window } W = N / \lambda_0: \; D \lambda_0 / (N \lambda), \qquad
    \text{a request that decodes}: \; D / n(\tau)

*To plan* one :math:`\tau` is taken for a scenario, with what its limit on TTFT leaves for a first token.

*To bound* every replica that decodes may have a time per token of its own. One whose mean lies in (a, b] decodes at
most what it can at b, and each of these requests stands for at most D / n(a); all of them take at least
:math:`\lambda` of the slowest time allowed, and a replica's prompts are rounded down by one at most. Intervals that
cover every time per token up to the limit are offered side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, floor, prod
from typing import Any

from shardproof.formulations.apart.pace import Pace
from shardproof.formulations.apart.phases import (
    FASTEST_TOKEN_NS,
    Tokens,
    as_together,
    check_apart,
    decoding_of,
    decoding_within,
    pool_instance,
    prompts_within,
    rate_of,
)
from shardproof.formulations.open_loop import MILLIONTHS, SLOWEST_TOKEN_NS, needs_of
from shardproof.instances.instance import Instance
from shardproof.instances.pools import Pool, PoolsQuestion
from shardproof.instances.workload import Burst, OpenLoop, Scenario

IN_FLIGHT = 10**7
"""Units of a request in flight."""
A_SECOND = 10**9
"""Units of a request a second, where no replica of both phases is played (else millionths)."""
PROMPTS = 32
"""Prompts within a window for each replica that the prefill pool may have, at most."""
MOST_PRODUCTS = 12
"""Combinations of intervals of a pool's scenarios with which a bound begins."""

Interval = tuple[Fraction, Fraction]


def slowest_of(scenario: Scenario) -> Fraction:
    """Largest mean time per token that a scenario allows, ns."""
    is_open = isinstance(scenario.workload, OpenLoop)
    return Fraction((needs_of(scenario).tpot if is_open else scenario.limits.tpot) or SLOWEST_TOKEN_NS)


def paced_scenarios(question: PoolsQuestion) -> dict[str, Scenario]:
    """Return the scenarios whose requests keep coming, by their titles.

    Raises
    ------
    InputError
        If one says too little for pools apart.
    """
    found = {}
    for pool in question.pools:
        check_apart(pool.instance)
        for place, scenario in zip(pool.places, pool.instance.scenarios, strict=True):
            if not isinstance(scenario.workload, Burst):
                found[question.title(place)] = scenario
    return found


def planned(question: PoolsQuestion, paces: Mapping[str, Pace]) -> PoolsQuestion:
    """Return the question of fixed loads in which every scenario runs at its pace."""
    return _fixed(question, tuple(_planned(question, pool, paces) for pool in question.pools))


def bounded(question: PoolsQuestion, intervals: Mapping[str, Sequence[Interval]], replicas: int) -> PoolsQuestion:
    """Return the question that every fleet answers whose replicas keep their limits; ``replicas``: of prefill, at most.

    A pool of decode stands in it once for every interval; `interval_of` says for which.
    """
    pools = [made for pool in question.pools for made in _bounded(question, pool, intervals, replicas)]
    return _fixed(question, tuple(pools))


def replica_setting(question: PoolsQuestion, pool: Pool) -> Instance:
    """Return what a replica of a pool is set up for, at the slowest pace that the limits allow."""
    paces = {
        question.title(place): Pace(slowest_of(scenario))
        for place, scenario in zip(pool.places, pool.instance.scenarios, strict=True)
        if not isinstance(scenario.workload, Burst)
    }
    return _planned(question, pool, paces).instance


def without_whole(question: PoolsQuestion) -> PoolsQuestion:
    """Return the question without replicas of both phases."""
    pools = tuple(pool for pool in question.pools if pool.phase is not None)
    return question.model_copy(update={"pools": pools, "serving": "apart"})


def whole_alone(question: PoolsQuestion) -> PoolsQuestion | None:
    """Return the question for replicas of both phases alone (``None``: no pool has them)."""
    whole = [pool for pool in question.pools if pool.phase is None]
    first = sorted({pool.places for pool in whole})
    places = sorted({place for found in first for place in found})
    if {question.title(place) for place in places} != set(question.titles):
        return None
    at = {place: index for index, place in enumerate(places)}
    pools = tuple(
        pool.model_copy(
            update={
                "places": tuple(at[place] for place in pool.places),
                "also": (),
                "instance": as_together(pool.instance),
            }
        )
        for pool in whole
    )
    titles = tuple(question.title(place) for place in places)
    changes = {"pools": pools, "serving": "together", "names": titles, "titles": ()}
    return question.model_copy(update=changes | {"demand": tuple(question.demand[place] for place in places)})


def _fixed(question: PoolsQuestion, pools: tuple[Pool, ...]) -> PoolsQuestion:
    made = question.model_copy(update={"pools": pools})
    rated = made.rated
    scenarios = {
        place: scenario
        for pool in question.pools
        for places, scenario in zip(pool.counts, pool.instance.scenarios, strict=True)
        for place in places
    }
    demand = tuple(
        asked if rated[place] else _units(question, scenarios[place].workload, asked)
        for place, asked in enumerate(question.demand)
    )
    return made.model_copy(update={"demand": demand})


def _units(question: PoolsQuestion, workload: Any, asked: Fraction) -> Fraction:
    """Write a demand in units."""
    if isinstance(workload, Burst):
        return asked
    if isinstance(workload, OpenLoop):
        return Fraction(ceil(asked * _a_second(question)))
    return asked * IN_FLIGHT


def _a_second(question: PoolsQuestion) -> int:
    return MILLIONTHS if any(pool.is_open and pool.phase is None for pool in question.pools) else A_SECOND


def _whole(pool: Pool) -> Pool:
    """Replicas of both phases: what comes by itself is counted by its rate, requests in flight in units."""
    loads = [scenario.workload for scenario in pool.instance.scenarios]
    units = () if pool.is_open else tuple(1 if isinstance(load, Burst) else IN_FLIGHT for load in loads)
    return pool.model_copy(update={"instance": as_together(pool.instance), "units": units})


@dataclass(frozen=True)
class _Window:
    """Prompts of a scenario that are counted, and the window in which so many come at the slowest pace, ns."""

    prompts: int
    length: int
    rate: Fraction

    @classmethod
    def of(cls, question: PoolsQuestion, scenario: Scenario, demand: Fraction) -> _Window:
        slowest = slowest_of(scenario)
        rate = rate_of(scenario, Tokens(slowest, slowest))
        prompts = max(PROMPTS, min(PROMPTS * max(PROMPTS, question.max_gpus), int(demand) // PROMPTS))
        return cls(prompts, max(1, ceil(prompts * 10**9 / rate)), rate)


def _planned(question: PoolsQuestion, pool: Pool, paces: Mapping[str, Pace]) -> Pool:
    if pool.phase is None:
        return _whole(pool)
    scenarios, units = [], []
    for place, scenario in zip(pool.places, pool.instance.scenarios, strict=True):
        if isinstance(scenario.workload, Burst):
            scenarios.append(_burst(pool, scenario))
            units.append(1)
            continue
        pace = paces[question.title(place)]
        demand = _units(question, scenario.workload, question.demand[place])
        if pool.phase == "prefill":
            window = _Window.of(question, scenario, demand)
            tokens = Tokens(pace.token, pace.token, pace.prefill)
            scenarios.append(prompts_within(pool.instance, scenario, window.prompts, window.length, pace.hurry))
            each = demand * window.rate / (window.prompts * rate_of(scenario, tokens))
        else:
            scenarios.append(decoding_within(scenario, _most(scenario), floor(pace.token)))
            each = demand / (decoding_of(scenario, Tokens(pace.token, pace.token)) * pace.decode)
        units.append(max(1, floor(each)))
    return _asked(pool, scenarios, units)


def _bounded(
    question: PoolsQuestion, pool: Pool, intervals: Mapping[str, Sequence[Interval]], replicas: int
) -> Iterator[Pool]:
    if pool.phase is None:
        yield _whole(pool)
        return
    steady = [not isinstance(scenario.workload, Burst) for scenario in pool.instance.scenarios]
    titles = [question.title(place) for place in pool.places]
    choices: list[Sequence[Interval | None]] = [
        intervals[title] if keeps and pool.phase == "decode" else (None,)
        for title, keeps in zip(titles, steady, strict=True)
    ]
    for chosen in product(*choices):
        scenarios, units = [], []
        for place, scenario, interval in zip(pool.places, pool.instance.scenarios, chosen, strict=True):
            demand = _units(question, scenario.workload, question.demand[place])
            if isinstance(scenario.workload, Burst):
                made, each = _burst(pool, scenario), Fraction(1)
            elif interval is None:
                window = _Window.of(question, scenario, demand)
                made = prompts_within(pool.instance, scenario, window.prompts, window.length)
                each = demand / max(1, window.prompts - replicas)
            else:
                made = decoding_within(scenario, _most(scenario), floor(interval[1]))
                each = demand / decoding_of(scenario, Tokens(interval[0], interval[1]))
            scenarios.append(made)
            units.append(ceil(each))
        yield _asked(pool, scenarios, units, chosen)


def _most(scenario: Scenario) -> int:
    """Requests of a scenario that decode at once at the slowest pace."""
    slowest = slowest_of(scenario)
    return max(1, ceil(decoding_of(scenario, Tokens(slowest, slowest))))


def _burst(pool: Pool, scenario: Scenario) -> Scenario:
    assert pool.phase is not None
    alone = pool.instance.model_copy(update={"scenarios": (scenario,)})
    return pool_instance(alone, pool.phase).scenarios[0]


def _asked(
    pool: Pool, scenarios: Sequence[Scenario], units: Sequence[int], chosen: Sequence[Interval | None] = ()
) -> Pool:
    changes = {"scenarios": tuple(scenarios), "serving": "together"}
    spoken = ", ".join(f"up to {float(one[1]) / 1e6:.4g} ms a token" for one in chosen if one is not None)
    name = pool.name + (f" ({spoken})" if spoken else "")
    instance: Instance = pool.instance.model_copy(update=changes)
    return pool.model_copy(update={"name": name, "instance": instance, "units": tuple(units)})


def first_intervals(question: PoolsQuestion) -> dict[str, tuple[Interval, ...]]:
    """Return intervals of times per token with which a bound begins: halves from the slowest on, the last all the rest.

    Where a pool has several scenarios, as many as keep their combinations few.
    """
    scenarios = paced_scenarios(question)
    counts = dict.fromkeys(scenarios, 6)
    for pool in question.pools:
        own = [title for place in pool.places if (title := question.title(place)) in scenarios]
        while prod(counts[title] for title in own) > MOST_PRODUCTS and len(own) > 1:
            for title in own:
                counts[title] = max(1, counts[title] - 1)
            if all(counts[title] == 1 for title in own):
                break
    return {title: tuple(_halves(slowest_of(scenario), counts[title])) for title, scenario in scenarios.items()}


def _halves(slowest: Fraction, count: int) -> Iterator[Interval]:
    stop = slowest
    for place in range(count):
        last = place == count - 1 or stop / 2 <= FASTEST_TOKEN_NS
        yield (min(Fraction(FASTEST_TOKEN_NS), stop) if last else stop / 2, stop)
        if last:
            return
        stop /= 2


def halved(intervals: Sequence[Interval], stop: Fraction) -> tuple[Interval, ...]:
    """Return the intervals with the one that ends there in two."""
    found: list[Interval] = []
    for low, high in intervals:
        middle = Fraction(round(float(low * high) ** 0.5))
        split = high == stop and low < middle < high
        found += [(middle, high), (low, middle)] if split else [(low, high)]
    return tuple(found)
