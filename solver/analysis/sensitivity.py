"""How far each input may worsen before a plan breaks, and before the fewest GPUs change; and what limits cost.

Inputs are integers in their smallest unit (ns, bytes, requests, tokens; efficiencies in millionths). Where an
answer can only get worse as an input does, bisection over proven decisions finds the last good value exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.analysis.inputs import Input
from shardproof.solver.analysis.limiting import fewest_gpus
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Query


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
    near, step = item.value, 1
    while True:
        far = max(item.extreme, item.value - step) if item.falling else min(item.extreme, item.value + step)
        if not good(far):
            break
        if far == item.extreme:
            return None
        near, step = far, step * 4
    while abs(far - near) > 1:
        middle = (near + far) // 2
        if good(middle):
            near = middle
        else:
            far = middle
    return near


def plan_holds(instance: Instance, plan: Plan) -> bool:
    """Whether a plan keeps every limit of an instance."""
    return not evaluate(instance, plan).violations


def enough(instance: Instance, gpus: int, *, floor: bool = False) -> bool:
    """Whether some plan of at most ``gpus`` GPUs exists; ``floor``: none is refuted in exact arithmetic."""
    deployment = deployment_of(instance).limited(gpus)
    if not deployment.options:
        return False
    return Prover(deployment.program, floor=floor).decide(Query(gpus)).chain is not None


class Suffices(Protocol):
    """Decides whether some plan of at most so many GPUs exists; ``floor``: none is refuted in exact arithmetic."""

    def __call__(self, instance: Instance, gpus: int, *, floor: bool = False) -> bool:
        """Decide it."""
        ...


def slack_of(item: Input, plan: Plan, gpus: int, suffices: Suffices = enough) -> Slack:
    """How far one input may worsen."""
    plan_until = last_good(lambda value: plan_holds(item.changed(value), plan), item)
    optimum_until = last_good(lambda value: suffices(item.changed(value), gpus), item)
    if optimum_until is None:
        return Slack(item.name, item.unit, item.value, plan_until, None, None)
    rest = replace(item, value=optimum_until)
    beyond = last_good(lambda value: suffices(item.changed(value), gpus, floor=True), rest)
    return Slack(item.name, item.unit, item.value, plan_until, optimum_until, beyond)


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
