"""A plan of open scenarios predicted: what the simulator shows, beside the parts that the formulas give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import inf, isfinite

from shardproof.formulations.open_loop import closed
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import OpenLoop
from shardproof.solver.evaluation.engine_plan import require_plan_of
from shardproof.solver.evaluation.predictions import Prediction, of_evaluation
from shardproof.solver.open_loop.evaluated import ServedFigures, evaluate_judged, in_scenario, service_of, with_group
from shardproof.solver.open_loop.facts import OpenScenario
from shardproof.solver.open_loop.judge import judged
from shardproof.solver.open_loop.percentiles import ReplicaLoad, ReplicaPercentiles
from shardproof.solver.open_loop.shown import documents, format_time, sentences
from shardproof.solver.problem import deployment_of
from shardproof.solver.simulation.plan_times import limits_of

BASIS = "the plan in service, played (TTFT: 99th percentile, TPOT: mean); iterations and memory by "


def predict_open(instance: Instance, plan: Plan, *, level: float | None = None) -> tuple[Prediction, ...]:
    """Predict a plan under every scenario, group by group: the figures are those that `solve` states of it.

    Raises
    ------
    InputError
        If the plan is not one of the instance's model.
    """
    for group in plan.parts:
        require_plan_of(instance, plan.part(group))
    shown = judged(instance, plan, service_of(instance))
    evaluation = evaluate_judged(instance, shown)
    told, served = tuple(sentences(shown)), {str(item["scenario"]): item for item in documents(shown)}
    formulas = by_formula(instance, plan)
    flight = {one.scenario.name: one.scenario.workload.requests for one in evaluation.scenarios}
    deployment = deployment_of(closed(instance, flight))
    found = []
    for place, group in enumerate(plan.parts):
        figures = with_group(evaluation, place)
        for one, of in zip(
            of_evaluation(deployment, plan.part(group), figures, level=level), figures.scenarios, strict=True
        ):
            broken = tuple(item for item in evaluation.violations if in_scenario(item, of.scenario))
            played = isinstance(of, ServedFigures)
            found.append(
                replace(
                    one,
                    basis=BASIS + one.basis if played else one.basis,
                    group=place if plan.groups else None,
                    violations=broken,
                    served=served[one.scenario] | {"by_formula": formulas.get(one.scenario)} if played else None,
                    said=(*(line for line in told if line.startswith(f"{one.scenario}: ")), *_said(formulas, one)),
                )
            )
    return tuple(found)


def by_formula(instance: Instance, plan: Plan) -> dict[str, dict[str, dict[str, float | None]]]:
    """Percentiles by formula, ms, of the open scenarios whose requests come by chance; ``None``: not kept up with."""
    found = {}
    open_ = [item for item in instance.scenarios if isinstance(item.workload, OpenLoop)]
    for scenario, one in zip(open_, percentiles_of(instance, plan), strict=True):
        assert isinstance(scenario.workload, OpenLoop)
        if comes_by_chance(scenario.workload):
            figures = {"ttft_ms": one.ttft, "tpot_ms": one.tpot}
            found[scenario.name] = {
                name: {f"p{percent}": _milliseconds(figure(percent / 100)) for percent in FORMULA_PERCENTS}
                for name, figure in figures.items()
            }
    return found


FORMULA_PERCENTS = (50, 90, 99)
NEARLY_POISSON = (Fraction(8, 10), Fraction(12, 10))
"""Coefficients of variation of gaps within which arrivals are taken for a Poisson stream."""


def comes_by_chance(load: OpenLoop) -> bool:
    """Whether arrivals are near enough to a Poisson stream for the formulas."""
    low, high = NEARLY_POISSON
    return low <= load.arrival_cv <= high


def _milliseconds(time: float) -> float | None:
    return time / 1e6 if isfinite(time) else None


def _said(formulas: dict[str, dict[str, dict[str, float | None]]], one: Prediction) -> Iterator[str]:
    for name, points in formulas.get(one.scenario, {}).items():
        times = {key: inf if value is None else 1e6 * value for key, value in points.items()}
        shown = ", ".join(f"{key} {format_time(time)}" for key, time in times.items())
        yield f"{one.scenario}: {name.removesuffix('_ms')} by formula {shown}"


def percentiles_of(instance: Instance, plan: Plan, *, sample: int = 400) -> tuple[ReplicaPercentiles, ...]:
    """Percentiles by formula of a replica of the plan's first group, one for each open scenario.

    Requests are shared by weight; ``sample``: of the requests that stand for all.
    """
    import numpy as np

    service = service_of(instance)
    group, found = plan.parts[0], []
    for scenario in instance.scenarios:
        load = scenario.workload
        if not isinstance(load, OpenLoop):
            continue
        limits = limits_of(service.deployment, group, prefix_hit=float(load.prefix_cache_hit))
        times = service.times(group.stages, limits, service.extent(scenario))
        facts = OpenScenario(service, scenario).everything
        chosen = np.linspace(0, len(facts.output) - 1, min(sample, len(facts.output))).astype(int)
        asked = ReplicaLoad(
            rate=float(load.rate) / 1e9 * share_of(plan),
            computed=facts.computed[chosen],
            found=facts.found[chosen],
            output=facts.output[chosen],
        )
        found.append(ReplicaPercentiles(times, limits, asked))
    return tuple(found)


def share_of(plan: Plan) -> float:
    """Share of the requests that one replica of the first group takes."""
    weights = [(max((share.requests for share in part.shares), default=1), part.replicas) for part in plan.parts]
    return weights[0][0] / sum(weight * count for weight, count in weights)
