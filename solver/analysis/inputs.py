"""Inputs of a question that can worsen or give way: each with its value and the instance with another one.

Values are integers in their smallest unit (ns, bytes, requests, tokens; efficiencies in millionths).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from shardproof.instances.instance import Instance
from shardproof.instances.workload import Scenario

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


def inputs_of(instance: Instance) -> tuple[Input, ...]:
    """Every input whose worsening can only make the answer worse."""
    return (*device_inputs(instance), *_workload_inputs(instance), *_guesses(instance))


def _guesses(instance: Instance) -> Iterator[Input]:
    """Yield what fewer guesses that hold make worse: tokens of an iteration, of which the model itself gives one."""
    guessed = instance.speculative
    if guessed is None or guessed.tokens == MILLION:
        return

    def changed(value: int) -> Instance:
        tokens = max(MILLION, value)
        return instance.model_copy(update={"speculative": guessed.model_copy(update={"tokens": tokens})})

    yield Input("tokens of an iteration", "millionths of a token", guessed.tokens, True, changed)


def device_inputs(instance: Instance) -> Iterator[Input]:
    """Yield what the device is worse with less of."""

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
                return with_scenario(instance, place, own.model_copy(update=update))

            yield Input(field + label, unit, getattr(scenario.workload, field), False, workload)
        for field in ("ttft", "tpot"):
            limit = getattr(scenario.limits, field)

            def limits(value: int, place: int = place, field: str = field) -> Instance:
                return with_limit(instance, place, field, value)

            if limit is not None:
                yield Input(f"{field} limit{label}", "ns", limit, True, limits)


def with_scenario(instance: Instance, place: int, scenario: Scenario) -> Instance:
    """Return the instance with another scenario in a place."""
    scenarios = (*instance.scenarios[:place], scenario, *instance.scenarios[place + 1 :])
    return instance.model_copy(update={"scenarios": scenarios})


def with_limit(instance: Instance, place: int, field: str, value: int) -> Instance:
    """Return the instance with another latency limit (``ttft``, ``tpot``, ns) of one scenario."""
    own = instance.scenarios[place]
    limits = own.limits.model_copy(update={field: value})
    return with_scenario(instance, place, own.model_copy(update={"limits": limits}))
