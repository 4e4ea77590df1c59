"""A fleet of several devices and models for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.instances.fleet_plan import FleetGroup, FleetPlan
from shardproof.instances.pools import PoolsQuestion
from shardproof.instances.units import format_gpus
from shardproof.solver.pools.result import FleetResult
from shardproof.solver.pools.told import UNITS
from shardproof.solver.writers.layout import counted, in_short, outline, terminal_width
from shardproof.solver.writers.terminal import PROOF_WORDS, stopped

NODES_SHOWN = 12


def render_fleet(question: PoolsQuestion, result: FleetResult) -> str:
    """Write status, fleet, nodes and reasons, one thing a line."""
    return outline("\n".join(_lines(question, result)), width=terminal_width())


def written(result: FleetResult, value: int | None) -> str:
    """Write a value of the objective with its unit."""
    unit, _ = UNITS[result.objective]
    shown = result.shown(value)
    return "none" if shown is None else f"{shown:.10g} {unit}"


def _lines(question: PoolsQuestion, result: FleetResult) -> Iterator[str]:
    yield f"{_name(question)}: {_verdict(result)}"
    proof = f"{result.status} - {PROOF_WORDS[result.proof]}"
    yield f"{proof}; {stopped(result)}{result.seconds:.2f} s"
    if result.plan is not None and result.metrics is not None:
        metrics = result.metrics
        price = "" if metrics.price_per_hour is None else f", {metrics.price_per_hour:.6g} USD/h"
        watts = "" if metrics.watts is None else f", {metrics.watts:,.6g} W"
        yield f"fleet: {metrics.gpus} GPUs{price}{watts}"
        if metrics.ttft_s is not None and metrics.tpot_ms is not None:
            played = any(group.shown for group in result.plan.groups)
            first, token = ("99th percentile of TTFT", "mean TPOT") if played else ("TTFT", "TPOT")
            yield f"slowest group: {first} {metrics.ttft_s:.3f} s, {token} {metrics.tpot_ms:.2f} ms"
        for place, group in enumerate(result.plan.groups):
            yield f"group {place}: {_group(group)}"
            yield from (f"  in service, {line}" for line in group.shown)
        yield from _nodes(result.plan)
        for case in result.plan.spared:
            left = ", ".join(f"{name} {share:.1%}" for name, share in case.carried.items())
            yield f"when {case.gone} is gone, the rest carries of the demand: {left}"
    yield from in_short(result.explanation)
    if result.assumptions:
        yield "Assumed:"
    yield from (f"  - {line}" for line in result.assumptions)


def _name(question: PoolsQuestion) -> str:
    """Name a fleet: as its file does, else by its models."""
    models = " and ".join(dict.fromkeys(pool.model for pool in question.pools))
    return models if models and question.name in UNNAMED else question.name


UNNAMED = ("command-line", "instance", "page")
"""Names of questions that nobody named."""


def _verdict(result: FleetResult) -> str:
    if result.plan is None:
        return "no fleet of these offers keeps every limit" if result.status == "infeasible" else "no fleet found yet"
    known = "no bound is known" if result.bound is None else f"no fleet {_better(result)}{_gap(result)}"
    return f"{written(result, result.value)}; {known}"


def _better(result: FleetResult) -> str:
    bound = written(result, result.bound)
    return f"carries more than {bound}" if result.objective == "load" else f"does with less than {bound}"


def _gap(result: FleetResult) -> str:
    return f" (gap {result.gap:.2%})" if result.gap else ""


def _group(group: FleetGroup) -> str:
    parts = []
    for one in group.takes:
        share = f"{one.requests} requests" if one.rate_per_s is None else f"{one.rate_per_s:.4g}/s"
        parts.append(f"{one.name} {share}")
    model = "" if group.model is None else f"{group.model} on "
    shape = ""
    if group.plan is not None:
        stages = ", ".join(f"TP{s.attn_tp} x DP{s.attn_dp}" for s in group.plan.stages[:4])
        shape = f" ({counted(len(group.plan.stages), 'stage')}: {stages}{' ...' if len(group.plan.stages) > 4 else ''})"
    each = format_gpus(group.gpus_each)
    phase = f"{group.phase} pool, " if group.phase else ""
    return f"{phase}{model}{group.offer}, {group.replicas} x {each}{shape}, each at most {', '.join(parts)}"


def _nodes(plan: FleetPlan) -> Iterator[str]:
    for node in plan.nodes[:NODES_SHOWN]:
        seats = (f"group {s.group} replica {s.replica} on GPU {_spans(s.gpus)}" for s in node.seats)
        yield f"  {node.offer} node {node.node}: {'; '.join(seats)}"
    if len(plan.nodes) > NODES_SHOWN:
        yield f"  ... and {len(plan.nodes) - NODES_SHOWN} more nodes (in the plan file)"


def _spans(gpus: tuple[int, ...]) -> str:
    return str(gpus[0]) if len(gpus) == 1 else f"{gpus[0]}-{gpus[-1]}"
