"""A plan of open scenarios predicted: what the simulator shows, beside the parts that the formulas give."""

from __future__ import annotations

from dataclasses import replace

from shardproof.formulations.open_loop import closed
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.solver.evaluation.engine_plan import require_plan_of
from shardproof.solver.evaluation.predictions import Prediction, of_evaluation
from shardproof.solver.open_loop.evaluated import ServedFigures, evaluate_judged, in_scenario, service_of, with_group
from shardproof.solver.open_loop.judge import judged
from shardproof.solver.open_loop.shown import documents, sentences
from shardproof.solver.problem import deployment_of

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
                    served=served[one.scenario] if played else None,
                    said=tuple(line for line in told if line.startswith(f"{one.scenario}: ")),
                )
            )
    return tuple(found)
