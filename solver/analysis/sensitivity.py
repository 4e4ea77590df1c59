"""How far each input may worsen before a plan breaks, and before the fewest GPUs change; and what limits cost.

Inputs are integers in their smallest unit (ns, bytes, requests, tokens; efficiencies in millionths). Where an
answer can only get worse as an input does, bisection over proven decisions finds the last good value exactly. A plan
that holds at a value shows that its GPUs suffice there: decisions are asked for only beyond the best plans known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol, get_args

from shardproof.formulations.deployment.plans import plan_of
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.analysis.inputs import Input
from shardproof.solver.analysis.limiting import fewest_gpus
from shardproof.solver.evaluation.evaluate import keeps_limits
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Objective, Query


@dataclass(frozen=True)
class Slack:
    """How far an input may worsen: the last value at which the plan holds, and at which as few GPUs suffice.

    ``None``: it may worsen to the end of what is looked at. Beyond ``refuted_beyond`` no plan of so few GPUs
    exists in exact arithmetic; where it differs from ``optimum_until``, rounding leaves what lies between open.
    """

    name: str
    unit: str
    value: int
    plan_until: int | None
    optimum_until: int | None
    refuted_beyond: int | None


@dataclass(frozen=True)
class Step:
    """One point of a curve: fewest GPUs and the proven bound at this value of the input (``None``: no plan)."""

    value: int
    gpus: int | None
    bound: int | None


def last_good(good: Callable[[int], bool], item: Input) -> int | None:
    """Last value on the way from ``item.value`` to its extreme that is good; the first one is.

    ``good`` may only change from true to false on the way. ``None``: even the extreme is good.
    """
    return furthest(lambda value, _: value if good(value) else None, item, item.value)


def furthest(reach: Callable[[int, bool], int | None], item: Input, near: int) -> int | None:
    """Last good value on the way from ``near``, a good one, to the extreme of an input.

    ``reach`` returns ``None`` of a value that is bad (all beyond it are, too), else a good value: this one, or one
    beyond it that is known to be good with it; one step beyond that is tried next. It hears whether no bad value is
    known yet: where one is, halving gains more than a further reach.
    """
    away = -1 if item.falling else 1
    step, far, tight = 1, None, True
    while near != item.extreme and (far is None or abs(far - near) > 1):
        if tight:
            probe = near + away
        elif far is None:
            probe = max(item.extreme, near - step) if item.falling else min(item.extreme, near + step)
        else:
            probe = (near + far) // 2
        found = reach(probe, far is None)
        if found is None:
            far, tight = probe, False
        else:
            gain = abs(found - near)
            tight, step = gain > step, max(4 * step, gain)
            near = found
    return None if near == item.extreme else near


def plan_holds(instance: Instance, plan: Plan) -> bool:
    """Whether a plan keeps every limit of an instance."""
    return keeps_limits(instance, plan)


def enough(instance: Instance, gpus: int, *, floor: bool = False) -> bool:
    """Whether some plan of at most ``gpus`` GPUs exists; ``floor``: none is refuted in exact arithmetic."""
    deployment = deployment_of(instance).limited(gpus)
    if not deployment.options:
        return False
    return Prover(deployment.program, floor=floor).decide(Query(gpus)).chain is not None


def plans_within(instance: Instance, gpus: int) -> Iterator[Plan]:
    """Yield plans of at most ``gpus`` GPUs (none: there are none): any, then those of least TTFT and memory."""
    deployment = deployment_of(instance).limited(gpus)
    if not deployment.options:
        return
    prover = Prover(deployment.program, floor=False)
    chain = prover.decide(Query(gpus)).chain
    if chain is None:
        return
    yield plan_of(deployment, chain)
    for objective in get_args(Objective):
        if prover.value(objective, chain) is not None:
            yield plan_of(deployment, prover.least(Query(gpus), objective, chain).chain or chain)


class Suffices(Protocol):
    """Decides whether some plan of at most so many GPUs exists; ``floor``: none is refuted in exact arithmetic."""

    def __call__(self, instance: Instance, gpus: int, *, floor: bool = False) -> bool:
        """Decide it."""
        ...


def slack_of(item: Input, plan: Plan, gpus: int, suffices: Suffices | None = None) -> Slack:
    """How far one input may worsen; ``suffices``: what decides where no plan of replicas of both phases can show it."""
    plan_until = holds_until(item, plan, item.value)
    if plan_until == item.extreme:
        return Slack(item.name, item.unit, item.value, None, None, None)
    reach = _reach(item, gpus) if suffices is None else _decided(suffices, item, gpus)
    optimum_until = furthest(reach, item, plan_until)
    if optimum_until is None:
        return Slack(item.name, item.unit, item.value, plan_until, None, None)
    rest = replace(item, value=optimum_until)
    decides = suffices or enough
    beyond = last_good(lambda value: decides(item.changed(value), gpus, floor=True), rest)
    return Slack(item.name, item.unit, item.value, plan_until, optimum_until, beyond)


def _reach(item: Input, gpus: int) -> Callable[[int, bool], int | None]:
    """Whether at most so many GPUs do at a value, and how far beyond it the best plans there hold."""

    def reach(value: int, is_open: bool) -> int | None:
        plans = plans_within(item.changed(value), gpus)
        if next(plans, None) is None:
            return None
        for plan in plans if is_open else ():
            beyond = value - 1 if item.falling else value + 1
            # Most plans hold no further than the best before them: one question tells.
            if value != item.extreme and plan_holds(item.changed(beyond), plan):
                value = holds_until(item, plan, beyond)
        return value

    return reach


def _decided(suffices: Suffices, item: Input, gpus: int) -> Callable[[int, bool], int | None]:
    return lambda value, _: value if suffices(item.changed(value), gpus) else None


def holds_until(item: Input, plan: Plan, value: int) -> int:
    """Last value, from one at which it holds to the extreme, at which a plan keeps every limit."""
    found = furthest(lambda worse, _: worse if plan_holds(item.changed(worse), plan) else None, item, value)
    return item.extreme if found is None else found


def step_at(instance: Instance, value: int) -> Step:
    """Fewest GPUs and the bound of one instance, both proven."""
    deployment = deployment_of(instance)
    gpus = fewest_gpus(deployment)
    if gpus is None:
        return Step(value, None, None)
    low = gpus
    while low > 1 and enough(instance, low - 1, floor=True):
        low -= 1
    return Step(value, gpus, low)


def curve(item: Input, values: tuple[int, ...]) -> tuple[Step, ...]:
    """Fewest GPUs at each value of an input."""
    return tuple(step_at(item.changed(value), value) for value in values)


def around(value: int, *, points: int, factor: int = 4) -> tuple[int, ...]:
    """``points`` values from value / factor to value * factor, evenly spaced by ratio."""
    spread = [
        round(value * float(factor) ** (2 * place / (points - 1) - 1)) if points > 1 else value
        for place in range(points)
    ]
    return tuple(sorted({max(1, found) for found in spread} | {value}))


def without_margin(instance: Instance) -> Instance:
    """Return the instance with every time held against its limit as it is."""
    return instance.model_copy(update={"margin": Fraction(0), "loop_ttft_margin": None, "confidence": None})
