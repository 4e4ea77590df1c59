"""How far limits and demand may worsen before pools that were played miss a limit; replicas of both phases stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from shardproof.instances.fleet_plan import FleetPlan
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.units import format_duration
from shardproof.solver.pools.result import FleetResult
from shardproof.solver.pools.steady_plans import Shown
from shardproof.solver.pools.steady_play import FleetService

PERCENT = 100
MOST_GROWTH = 64


def played_limits(question: PoolsQuestion, plan: FleetPlan) -> tuple[dict[str, Any], ...]:
    """Return each limit with the tightest value at which the fleet still keeps it, whatever is gone."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in Shown.of(question, plan, FleetService(question), None).verdicts:
        good = one.limit_name == "goodput"
        worst = one.found.low if good else one.found.high
        key = (one.scenario, one.limit_name)
        if key in found:
            worst = min(worst, found[key]["kept_until"]) if good else max(worst, found[key]["kept_until"])
        found[key] = {"scenario": one.scenario, "limit": one.limit_name, "now": one.limit, "kept_until": worst}
    return tuple(found.values())


def played_growth(question: PoolsQuestion, result: FleetResult) -> Fraction | None:
    """Return how many times the demand pools alone carry before a limit is missed, to a percent; of mixes nothing."""
    plan = result.plan
    if plan is None or question.objective == "load" or any(group.phase is None for group in plan.groups):
        return None
    finer = question.model_copy(update={"resolution": PERCENT})
    service = FleetService(finer)

    def keeps(steps: int) -> bool:
        return Shown.of(finer, plan, service, steps).keeps_all

    low, high = PERCENT, 2 * PERCENT
    while high < MOST_GROWTH * PERCENT and keeps(high):
        low, high = high, 2 * high
    while high > low + 1 + low // PERCENT:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return Fraction(low, PERCENT)


def in_words(limits: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say how tight each limit may become."""
    for one in limits:
        figure, name = one["limit"], one["scenario"]
        if figure == "goodput":
            yield f"{name}: goodput may be asked up to {one['kept_until']:.2%}, now {one['now']:.2%}"
        else:
            until, now = (format_duration(round(one[key])) for key in ("kept_until", "now"))
            yield f"{name}: the limit on {figure} may fall to {until} before these pools miss it, now {now}"
