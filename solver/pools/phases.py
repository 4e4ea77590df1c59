"""What each phase of a fleet costs, and what passes between its pools: why a fleet apart is as dear as it is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from shardproof.formulations.apart.transfer import prompt_bytes, sending_time
from shardproof.formulations.pools.problem import Kind, PoolsProblem
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.units import format_bytes, format_duration
from shardproof.solver.pools.result import FleetResult
from shardproof.solver.pools.told import UNITS


def shown(question: PoolsQuestion, value: int | Fraction) -> str:
    """Write an objective with its unit."""
    unit, scale = UNITS["gpus" if question.objective == "load" else question.objective]
    return f"{float(Fraction(value) / scale):.10g} {unit}"


def phase_of(question: PoolsQuestion, kind: Kind) -> str:
    """Return the phase that a kind of replica serves alone; empty: both, or capacities are data."""
    return (question.pools[kind.pool].phase or "") if question.pools else ""


def by_phase(question: PoolsQuestion, result: FleetResult, again: object, base: PoolsProblem) -> Iterator[str]:
    """Say what each phase costs, where they may be apart, and what a prompt's cache takes between the pools."""
    del again, base
    fleet = result.outcome.fleet
    if question.serving == "together" or fleet is None:
        return
    costs = dict[str, int]()
    for kind, count in fleet.groups:
        single = fleet.problem.with_kinds([kind])
        phase = phase_of(question, kind)
        words = f"the {phase} pool" if phase else "replicas of both phases"
        costs[words] = costs.get(words, 0) + single.cost_of([count] + [0] * (single.variables - 1))
    if len(costs) > 1:
        parts = ", ".join(f"{words} {shown(question, cost)}" for words, cost in costs.items())
        yield f"{parts}: {max(costs, key=lambda words: costs[words])} costs most"
    for pool in dict.fromkeys(question.pools[kind.pool].name for kind, _ in fleet.groups):
        yield from _sent(question, pool)


def _sent(question: PoolsQuestion, name: str) -> Iterator[str]:
    pool = next(pool for pool in question.pools if pool.name == name)
    for scenario in pool.instance.scenarios if pool.phase == "prefill" else ():
        tokens = scenario.workload.input_tokens
        size, time = prompt_bytes(pool.instance, tokens), sending_time(pool.instance, tokens)
        yield f"{name}: a prompt's KV cache, {format_bytes(size)}, takes {format_duration(time)} to the decode pool"
