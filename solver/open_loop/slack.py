"""How far inputs of an open question may worsen: until the plan misses a limit when played, until the bound refutes it.

Values are found by bisection, to a percent: a service is played, and its percentiles move by about as much from run to
run. What lies between the last value that the plan keeps and the first that is refuted for its GPUs is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import OpenLoop, Percentile, Scenario
from shardproof.solver.analysis.inputs import Input, device_inputs, with_limit, with_scenario
from shardproof.solver.analysis.sensitivity import Slack, Step
from shardproof.solver.open_loop.evaluated import SEEDS
from shardproof.solver.open_loop.judge import judged, may_keep
from shardproof.solver.open_loop.search import fewest_gpus
from shardproof.solver.simulation.simulate import Service, SimulationSettings

PERCENT = Fraction(1, 100)
COARSE = Fraction(1, 20)
HOUR = 3600


def open_inputs(instance: Instance) -> tuple[Input, ...]:
    """Every input whose worsening can only make the answer worse."""
    return (
        *device_inputs(instance),
        *(item for place in range(len(instance.scenarios)) for item in _of(instance, place)),
    )


def _of(instance: Instance, place: int) -> Iterator[Input]:
    scenario = instance.scenarios[place]
    label = "" if len(instance.scenarios) == 1 else f" [{scenario.name}]"
    load = scenario.workload
    if not isinstance(load, OpenLoop):
        return

    def changed(field: str, value: object) -> Instance:
        workload = load.model_copy(update={field: value})
        longest = workload.input_tokens + workload.output_tokens
        if field != "rate":
            workload = workload.model_copy(update={"sequence_length_range": (1, longest)})
        return with_scenario(instance, place, scenario.model_copy(update={"workload": workload}))

    if load.trace is None:
        hourly = round(load.rate * HOUR)
        yield Input(f"rate{label}", "requests/h", hourly, False, lambda v: changed("rate", Fraction(v, HOUR)))
        for field in ("input_tokens", "output_tokens") if load.input_lengths is load.output_lengths is None else ():
            number = getattr(load, field)
            yield Input(
                f"{field}{label}",
                "tokens",
                number,
                False,
                lambda value, field=field: changed(field, value),  # type: ignore[misc]
            )
    yield from _limits(instance, place, scenario, label)


def _limits(instance: Instance, place: int, scenario: Scenario, label: str) -> Iterator[Input]:
    for figure, limit in scenario.limits.plain.items():
        yield Input(
            f"{figure} limit{label}",
            "ns",
            round(limit),
            True,
            lambda value, figure=figure: with_limit(instance, place, figure, value),  # type: ignore[misc]
        )
    for at, item in enumerate(scenario.limits.percentiles):
        name = f"{item.figure} p{float(item.percent):g} limit{label}"
        yield Input(
            name,
            "ns",
            item.limit,
            True,
            lambda value, at=at, item=item: _with_percentile(  # type: ignore[misc]
                instance, place, at, item.model_copy(update={"limit": value})
            ),
        )


def _with_percentile(instance: Instance, place: int, at: int, item: Percentile) -> Instance:
    scenario = instance.scenarios[place]
    kept = scenario.limits.percentiles
    limits = scenario.limits.model_copy(update={"percentiles": (*kept[:at], item, *kept[at + 1 :])})
    return with_scenario(instance, place, scenario.model_copy(update={"limits": limits}))


def last_near(good: Callable[[int], bool], item: Input, near: Fraction) -> int | None:
    """Last value on the way to the extreme that is good, to a share ``near`` of it; ``None``: even the extreme is."""
    last, ratio = item.value, Fraction(11, 10)
    while True:
        next_ = last / ratio if item.falling else last * ratio
        first = max(item.extreme, int(next_)) if item.falling else min(item.extreme, -int(-next_ // 1))
        if first == last or not good(first):
            break
        if first == item.extreme:
            return None
        last, ratio = first, ratio * ratio
    if first == last:
        return last
    while abs(first - last) > max(1, int(last * near)):
        middle = (last + first) // 2
        if good(middle):
            last = middle
        else:
            first = middle
    return last


def slack_of(item: Input, plan: Plan, gpus: int) -> Slack:
    """How far one input may worsen."""
    until = last_near(lambda value: keeps(item.changed(value), plan), item, PERCENT)
    beyond = last_near(lambda value: fewest_gpus(item.changed(value), gpus) <= gpus, item, COARSE)
    return Slack(item.name, item.unit, item.value, until, until, beyond)


def keeps(instance: Instance, plan: Plan) -> bool:
    """Whether a plan keeps every limit when it is played: one run first, all of them where that one does."""
    service = Service(instance, SimulationSettings(seeds=SEEDS))
    return may_keep(instance, plan, service) and judged(instance, plan, service).keeps_all


def curve(item: Input, values: tuple[int, ...]) -> tuple[Step, ...]:
    """Fewest GPUs and their bound at each value of an input."""
    from shardproof.solver.open_loop.solve import solve_open
    from shardproof.solver.search.settings import Settings

    found = ((value, solve_open(item.changed(value), Settings())) for value in values)
    return tuple(Step(value, result.gpus, result.bound) for value, result in found)
