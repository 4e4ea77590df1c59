"""Why an open question needs as many GPUs as it does: what refutes fewer, and what fewer showed in service."""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.instances.instance import Instance
from shardproof.instances.workload import OpenLoop
from shardproof.solver.open_loop.evaluated import service_of
from shardproof.solver.open_loop.facts import OpenScenario
from shardproof.solver.open_loop.judge import judged, within_margin
from shardproof.solver.open_loop.least import OptionCosts, ShapeBound
from shardproof.solver.open_loop.shapes import Shape, shapes_of
from shardproof.solver.open_loop.shown import sentences
from shardproof.solver.result import Result

SHOWN = 6
"""Shapes whose reason is written out: those that come closest."""


def why_not_fewer(instance: Instance, result: Result) -> tuple[str, ...]:
    """Say why fewer GPUs than the bound are impossible, shape by shape, and what one replica fewer showed."""
    most = instance.max_gpus if result.bound is None else result.bound - 1
    found = list(_refuted(instance, most)) if most >= 1 else []
    found.sort(key=lambda item: -item[0].gpus * item[1])
    lines = [f"{count} {_replicas(count)} of {shape}: {text}" for shape, count, text in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"{len(found) - SHOWN} other shapes fall likewise")
    return (*lines, *_missed(instance, result))


def _refuted(instance: Instance, most: int) -> Iterator[tuple[Shape, int, str]]:
    """Yield every shape with the most replicas that so many GPUs hold, and why they do not do."""
    service, asked = service_of(instance), within_margin(instance).scenarios
    scenarios = [OpenScenario(service, item) for item in asked if isinstance(item.workload, OpenLoop)]
    costs: dict[object, OptionCosts] = {}
    for shape in shapes_of(service.deployment):
        count = most // shape.gpus
        if not count:
            continue
        if shape.option not in costs:
            costs[shape.option] = OptionCosts(service, shape.option)
        bound = ShapeBound(costs[shape.option], shape, scenarios)
        texts = (bound.reason(open_, count) for open_ in scenarios)
        text = next((text for text in texts if text), "")
        if text:
            yield shape, count, text


def _missed(instance: Instance, result: Result) -> Iterator[str]:
    """What the plan with one replica fewer showed, where the bound does not refute it."""
    plan = result.plan
    if plan is None or result.bound is None or result.gpus is None or result.gpus <= result.bound:
        return
    if plan.groups or plan.replicas == 1:
        return
    fewer = plan.model_copy(update={"replicas": plan.replicas - 1})
    shown = judged(instance, fewer, service_of(instance))
    told = zip(shown.verdicts, sentences(shown), strict=True)
    missed = [text for verdict, text in told if not verdict.kept]
    if missed:
        count = f"{fewer.replicas} {_replicas(fewer.replicas)} of the plan"
        yield f"{count} would not be refuted, but when played {'; '.join(missed)}"


def _replicas(count: int) -> str:
    return "replica" if count == 1 else "replicas"
