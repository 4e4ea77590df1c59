"""How far each input may worsen before a plan breaks, and before the fewest GPUs change; and what limits cost.

Inputs are integers in their smallest unit (ns, bytes, requests, tokens; efficiencies in millionths). Where an
answer can only get worse as an input does, bisection over proven decisions finds the last good value exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import Scenario
from shardproof.solver.analysis.limiting import fewest_gpus
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Query

MILLION = 1_000_000
FURTHEST = 1024
"""Factor beyond which an input is not worsened any further."""


@dataclass(frozen=True)
class Input:
    """One number of an instance: its value in ``unit``, and the instance with another value.

    ``falling``: smaller is worse (memory, bandwidth, limits); otherwise larger is (batch, lengths).
    """

    name: str
    unit: str
    value: int
    falling: bool
    changed: Callable[[int], Instance]

    @property
    def extreme(self) -> int:
        """Worst value looked at."""
        return max(1, self.value // FURTHEST) if self.falling else self.value * FURTHEST


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


def inputs_of(instance: Instance) -> tuple[Input, ...]:
    """Every input whose worsening can only make the answer worse."""
    return (*_device_inputs(instance), *_workload_inputs(instance))


def _device_inputs(instance: Instance) -> Iterator[Input]:
    def device(**update: Any) -> Instance:
        return instance.model_copy(update={"device": instance.device.model_copy(update=update)})

    own = instance.device
    share = int(own.mfu * MILLION)
    yield Input("mfu", "millionths", share, True, lambda value: device(mfu=Fraction(value, MILLION)))
    bandwidth = int(own.memory_bandwidth)
    yield Input("memory bandwidth", "bytes/s", bandwidth, True, lambda value: device(memory_bandwidth=value))
    for name in ("scale_up", "scale_out"):
        link = getattr(own, name)

        def changed(value: int, name: str = name, link: Any = link) -> Instance:
            return device(**{name: link.model_copy(update={"bandwidth": value})})

        yield Input(f"{name.replace('_', '-')} bandwidth", "bytes/s", int(link.bandwidth), True, changed)
    memory = instance.memory_limit
    yield Input("memory per device", "bytes", memory, True, lambda v: instance.model_copy(update={"memory_limit": v}))


def _workload_inputs(instance: Instance) -> Iterator[Input]:
    for place, scenario in enumerate(instance.scenarios):
        label = "" if len(instance.scenarios) == 1 else f" [{scenario.name}]"
        requests = "batch_size" if scenario.workload.kind == "burst" else "concurrency"
        for field, unit in ((requests, "requests"), ("input_tokens", "tokens"), ("output_tokens", "tokens")):

            def workload(value: int, place: int = place, field: str = field) -> Instance:
                own = instance.scenarios[place]
                update = {"workload": own.workload.model_copy(update={field: value})}
                return _with_scenario(instance, place, own.model_copy(update=update))

            yield Input(field + label, unit, getattr(scenario.workload, field), False, workload)
        for field in ("ttft", "tpot"):
            limit = getattr(scenario.limits, field)

            def limits(value: int, place: int = place, field: str = field) -> Instance:
                own = instance.scenarios[place]
                update = {"limits": own.limits.model_copy(update={field: value})}
                return _with_scenario(instance, place, own.model_copy(update=update))

            if limit is not None:
                yield Input(f"{field} limit{label}", "ns", limit, True, limits)


def _with_scenario(instance: Instance, place: int, scenario: Scenario) -> Instance:
    scenarios = (*instance.scenarios[:place], scenario, *instance.scenarios[place + 1 :])
    return instance.model_copy(update={"scenarios": scenarios})


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


def slack_of(item: Input, plan: Plan, gpus: int) -> Slack:
    """How far one input may worsen."""
    plan_until = last_good(lambda value: plan_holds(item.changed(value), plan), item)
    optimum_until = last_good(lambda value: enough(item.changed(value), gpus), item)
    if optimum_until is None:
        return Slack(item.name, item.unit, item.value, plan_until, None, None)
    rest = replace(item, value=optimum_until)
    beyond = last_good(lambda value: enough(item.changed(value), gpus, floor=True), rest)
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
