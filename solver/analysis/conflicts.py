"""Which limits of an instance without a plan cannot hold together, and how little each would have to give.

The set is minimal: its limits alone leave no plan (proven), without any one of them the rest of it does (proven).
Limits outside the set may conflict too: then no value of one in it helps while those stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from shardproof.formulations.deployment.cells import is_stream
from shardproof.formulations.open_loop import is_open
from shardproof.formulations.scaling import limit_for
from shardproof.instances.instance import Instance
from shardproof.instances.units import format_bytes, format_duration, format_gpus
from shardproof.instances.workload import Phased
from shardproof.solver.analysis.inputs import with_limit
from shardproof.solver.analysis.limiting import fewest_gpus, stopper
from shardproof.solver.problem import deployment_of
from shardproof.solver.search.prover import Prover
from shardproof.solver.search.query import Interrupted, Query

BEYOND = 1 << 24
"""Factor by which a dropped limit is raised: far beyond anything that a plan could use."""
MOST_GPUS = 1024
"""GPUs that an instance without a GPU limit may use."""

TAKES_LONGER = "takes longer to find out than there is time for"

MEMORY_BEYOND = 2**55
"""Bytes of a device that holds whatever the tables can name, well below what they can add up."""


@dataclass(frozen=True)
class Limit:
    """One limit: its name, its value, the instance with it raised to another value, and how to write a value."""

    name: str
    value: int
    most: int
    raised: Callable[[int], Instance]
    write: Callable[[int], str]


@dataclass(frozen=True)
class Conflict:
    """One limit of a conflicting set: the least value (ns, bytes, GPUs) at which a plan exists, the others kept.

    ``needed`` is ``None`` where no value up to the largest looked at helps alone, or the time was up.
    """

    name: str
    value: int
    needed: int | None
    words: str


def limits_of(instance: Instance) -> Iterator[Limit]:
    """Yield every limit of an instance."""
    most = max(MOST_GPUS, instance.max_gpus)
    yield Limit("GPUs", instance.max_gpus, most, lambda v: _gpus(instance, v), lambda v: f"{v} GPUs")
    memory = instance.memory_limit
    yield Limit(
        "memory per device",
        memory,
        max(memory, MEMORY_BEYOND),
        lambda value: instance.model_copy(update={"memory_limit": value}),
        format_bytes,
    )
    told = instance.engine_settings.max_num_seqs
    if told is not None:
        yield Limit("max_num_seqs", told, max(told, 10**6), lambda v: _running(instance, v), lambda v: f"{v} requests")
    for place, scenario in enumerate(instance.scenarios):
        label = "" if len(instance.scenarios) == 1 else f" [{scenario.name}]"
        for field in ("ttft", "tpot"):
            value = getattr(scenario.limits, field)
            if value is not None:
                raised = partial(with_limit, instance, place, field)
                yield Limit(f"{field.upper()}{label}", value, value * BEYOND, raised, format_duration)


def _gpus(instance: Instance, value: int) -> Instance:
    return instance.model_copy(update={"max_gpus": value})


def _running(instance: Instance, value: int) -> Instance:
    settings = instance.engine_settings.model_copy(update={"max_num_seqs": value})
    return instance.model_copy(update={"engine_settings": settings})


def has_plan(instance: Instance, stop_at: float = math.inf) -> bool:
    """Whether a plan exists, on tables rounded up."""
    return first_with_plan(instance, stop_at=stop_at) is not None


def first_with_plan(instance: Instance, start: int = 0, *, stop_at: float = math.inf) -> int | None:
    """Return the first layout, from place ``start`` on, that has a plan on tables rounded up (``None``: none has)."""
    deployment = deployment_of(instance)
    if not deployment.options:
        return None
    program = replace(deployment.program, layouts=deployment.program.layouts[start:])
    chain = Prover(program, floor=False, check_stop=stopper(stop_at)).decide(Query(instance.max_gpus)).chain
    return None if chain is None else start + chain.layout


def conflicting(instance: Instance, stop_at: float = math.inf) -> tuple[Limit, ...]:
    """Return a minimal set of limits that no plan meets together (empty: no limit is the cause).

    A limit is dropped for good where the others alone still leave no plan; what is left is needed.
    """
    relaxed, kept = instance, list(limits_of(instance))
    for limit in tuple(kept):
        named = {item.name: item for item in limits_of(relaxed)}
        without = named[limit.name].raised(limit.most)
        if not has_plan(without, stop_at):
            relaxed = without
            kept.remove(limit)
    names = {limit.name for limit in kept}
    return tuple(limit for limit in limits_of(relaxed) if limit.name in names)


def least_relaxation(limit: Limit, stop_at: float = math.inf) -> int | None:
    """Least value of a limit at which a plan exists, by bisection (``None``: none up to its end).

    Layouts that have no plan at one value have none at tighter ones; more GPUs make other layouts. A limit on TTFT ends
    where the lowest TTFT of any plan does.
    """
    lowest = _lowest_ttft(limit, stop_at) if limit.name == "TTFT" else None
    if lowest is not None:
        return lowest
    low, step = limit.value, max(1, limit.value // 1000)
    while True:
        high = min(limit.most, limit.value + step)
        first = first_with_plan(limit.raised(high), stop_at=stop_at)
        if first is not None:
            break
        if high == limit.most:
            return None
        low, step = high, step * 4
    while high - low > 1:
        middle = (low + high) // 2
        start = 0 if limit.name == "GPUs" else first
        found = first_with_plan(limit.raised(middle), start, stop_at=stop_at)
        if found is None:
            low = middle
        else:
            high, first = middle, found
    return high


def _lowest_ttft(limit: Limit, stop_at: float) -> int | None:
    """Return the lowest TTFT of any plan within the other limits, with its margin: there a limit on TTFT ends.

    ``None``: no plan is found, a case is left open, or the limit says something else besides (prompts that are sent).
    """
    instance = limit.raised(limit.most)
    workload, deployment = instance.scenarios[0].workload, deployment_of(instance)
    sent = isinstance(workload, Phased) and (workload.sending or workload.phase != "both")
    if sent or is_stream(instance.scenarios[0]) or not deployment.options:
        return None
    prover, query = Prover(deployment.program, floor=False, check_stop=stopper(stop_at)), Query(instance.max_gpus)
    chain = prover.decide(query).chain
    found = None if chain is None else prover.least(query, "ttft", chain)
    if found is None or found.chain is None or found.refutation is None:
        return None
    value = prover.value("ttft", found.chain)
    return None if value is None else limit_for(instance, "ttft", workload, value)


def conflicts(instance: Instance, stop_at: float = math.inf) -> tuple[Conflict, ...]:
    """Return each limit of a minimal conflicting set with the value that would make a plan possible.

    Raises
    ------
    Interrupted
        If the clock is past ``stop_at`` before the set is known; values not found by then are left out.
    """
    own = {limit.name: limit for limit in limits_of(instance)}
    return tuple(_conflict(own[limit.name], stop_at) for limit in conflicting(instance, stop_at))


def _conflict(limit: Limit, stop_at: float) -> Conflict:
    stated = f"{limit.name} ({limit.write(limit.value)})"
    try:
        needed = least_relaxation(limit, stop_at)
    except Interrupted:
        return Conflict(limit.name, limit.value, None, f"{stated}: from where on a plan exists {TAKES_LONGER}")
    words = f"{stated}: no value helps while the other limits stay"
    if needed is not None:
        more = f" ({needed - limit.value} more)" if limit.name == "GPUs" else ""
        words = f"{stated}: a plan exists from {limit.write(needed)}{more}"
    return Conflict(limit.name, limit.value, needed, words)


def cheaper_formats(instance: Instance, gpus: int | None = None, stop_at: float = math.inf) -> Iterator[str]:
    """Yield the formats under which a plan exists, or one of fewer than ``gpus`` GPUs, in words.

    Raises
    ------
    Interrupted
        If the clock is past ``stop_at``.
    """
    from shardproof.instances.catalogue import siblings

    if is_open(instance):
        return
    own = instance.model
    changes = [] if own.kv_dtype == "fp8" else [("KV cache in FP8", own.model_copy(update={"kv_dtype": "fp8"}))]
    changes += [(f"checkpoint {other.name}", other) for other in siblings(own)]
    instead = "" if gpus is None else f" instead of {gpus}"
    smaller = {} if gpus is None else {"max_gpus": gpus - 1}
    for words, model in changes:
        asked = instance.model_copy(update={"model": model, **smaller})
        fewer = fewest_gpus(deployment_of(asked), stop_at)
        if fewer is not None:
            yield f"{words}: {format_gpus(fewer)}{instead}"
