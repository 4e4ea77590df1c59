"""Predictions of a given plan: TTFT, TPOT, time by operation, memory by part, and the doubt in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from shardproof.formulations.costs.engine_memory import EngineMemory
from shardproof.formulations.costs.engine_profiles import load_profiles
from shardproof.formulations.costs.serving.closed_loop import Serving, StepClock
from shardproof.formulations.costs.serving.confidence import Interval, interval
from shardproof.formulations.costs.serving.factors import is_known, setting_of
from shardproof.formulations.scaling import limit_within_margin
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import ClosedLoop, Scenario
from shardproof.solver.evaluation.engine_flags import engine_account
from shardproof.solver.evaluation.engine_plan import EnginePlan, require_plan_of
from shardproof.solver.evaluation.evaluate import Evaluation, ScenarioFigures, Violation, evaluate
from shardproof.solver.evaluation.groups import questions

DEFAULT_ENGINE = "vllm"


@dataclass(frozen=True)
class Prediction:
    """What a plan is expected to do under one scenario; ``basis`` says which cost model spoke.

    ``group``: place of the group of a mixed fleet that this is about (``None``: all replicas are alike).
    """

    scenario: str
    basis: str
    ttft_s: float
    tpot_ms: float
    operations: dict[str, int]
    memory_bytes: dict[str, int]
    intervals: dict[str, Interval]
    engine_memory: EngineMemory | None
    assumptions: tuple[str, ...]
    group: int | None = None
    violations: tuple[Violation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``predict --json``."""
        document: dict[str, Any] = {
            **({} if self.group is None else {"group": self.group}),
            "scenario": self.scenario,
            "basis": self.basis,
            "ttft_s": self.ttft_s,
            "tpot_ms": self.tpot_ms,
            "operations": [{"name": name, "time_ns": time} for name, time in self.operations.items()],
            "memory_bytes": self.memory_bytes,
            "confidence": {name: asdict(found) for name, found in self.intervals.items()},
            "engine_memory": None,
            "assumptions": list(self.assumptions),
            "violations": [asdict(found) for found in self.violations],
        }
        if self.engine_memory is not None:
            document["engine_memory"] = {
                "parts_bytes": self.engine_memory.parts,
                "kv_tokens": self.engine_memory.kv_tokens,
                "kv_bytes_per_token": self.engine_memory.kv_bytes_per_token,
                "max_num_seqs": self.engine_memory.max_sequences,
                "refusal": self.engine_memory.refusal,
            }
        return document


def predict(instance: Instance, plan: Plan, *, level: float | None = None) -> tuple[Prediction, ...]:
    """Predict a plan under every scenario of an instance; ``level`` adds intervals.

    A mixed fleet is predicted group by group, each with its share of the requests, the slowest TTFT first.

    Raises
    ------
    InputError
        If the plan is not one of the instance's model.
    """
    if plan.groups:
        found = []
        for place, (asked, part) in enumerate(questions(instance, plan)):
            found += [replace(one, group=place) for one in predict(asked, part, level=level)]
        return tuple(sorted(found, key=lambda one: -one.ttft_s))
    require_plan_of(instance, plan)
    evaluation = evaluate(instance, plan)
    return tuple(_scenario(instance, plan, evaluation, index, level) for index in range(len(instance.scenarios)))


def _scenario(instance: Instance, plan: Plan, evaluation: Evaluation, index: int, level: float | None) -> Prediction:
    figures = evaluation.scenarios[index]
    fullest = max(figures.stages, key=lambda stage: stage.memory)
    scenario = instance.scenarios[index]
    served = serve(instance, plan, scenario)
    if served is None:
        operations: dict[str, int] = {}
        for stage in figures.stages:
            for name, time in stage.decode_ns.items():
                operations[name] = operations.get(name, 0) + time
        basis, ttft, tpot = "operations of the instance's clock", figures.ttft / 1e9, figures.tpot / 1e6
    else:
        operations = {name: round(1e9 * time) for name, time in served.operations.items()}
        basis, ttft, tpot = "serving factors fitted to measurements", served.ttft, 1e3 * served.tpot
    return Prediction(
        scenario=scenario.name,
        basis=basis,
        ttft_s=ttft,
        tpot_ms=tpot,
        operations=dict(sorted(operations.items(), key=lambda item: -item[1])),
        memory_bytes=fullest.memory_bytes,
        intervals={} if level is None or served is None else {"tpot_ms": _interval(instance, tpot, level)},
        engine_memory=engine_memory(instance, plan),
        assumptions=_assumptions(instance, served),
        violations=_violations(instance, plan, evaluation, figures, ttft_s=ttft, tpot_ms=tpot),
    )


def _violations(
    instance: Instance, plan: Plan, evaluation: Evaluation, figures: ScenarioFigures, *, ttft_s: float, tpot_ms: float
) -> tuple[Violation, ...]:
    """Rules and limits that a plan breaks in a scenario, times as they are predicted.

    Requests of a closed loop that find no room wait; then memory holds the longest request alone, as at start-up.
    """
    name, limits = figures.scenario.name, figures.scenario.limits
    found = [item for item in evaluation.violations if "[" not in item.group or item.group.startswith("running")]
    memory = [item for item in evaluation.violations if item.group == f"memory[{name}]"]
    if memory and figures.is_loop and EnginePlan(instance, plan).starts:
        memory = []
    times = (("ttft", round(1e9 * ttft_s), limits.ttft), ("tpot", round(1e6 * tpot_ms), limits.tpot))
    for group, value, limit in times:
        allowed = None if limit is None else limit_within_margin(limit, instance.margin)
        if allowed is not None and value > allowed:
            found.append(Violation(f"{group}[{name}]", "plan", value, allowed, "ns"))
    return (*found, *memory)


def serve(instance: Instance, plan: Plan, scenario: Scenario) -> Serving | None:
    """Closed-loop times of a plan; ``None`` for a burst, whose times follow from the instance's own clock."""
    workload = scenario.workload
    if not isinstance(workload, ClosedLoop):
        return None
    slowest = max(plan.stages, key=lambda stage: stage.layers[1] - stage.layers[0])
    return StepClock(instance.model, instance.device, _engine(instance)).serve(
        slowest.option,
        concurrency=workload.concurrency,
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        stages=len(plan.stages),
        replicas=plan.replicas,
    )


def engine_memory(instance: Instance, plan: Plan) -> EngineMemory | None:
    """Account as the engine will at start-up; ``None`` for engines without a profile or stages that differ."""
    options = {stage.option for stage in plan.stages}
    if _engine(instance) not in load_profiles().engines or len(options) != 1:
        return None
    return engine_account(instance, plan)


def _engine(instance: Instance) -> str:
    return DEFAULT_ENGINE if instance.engine == "any" else instance.engine


def _interval(instance: Instance, value: float, level: float) -> Interval:
    engine = _engine(instance)
    familiar = is_known(setting_of(instance.model, instance.device, engine))
    return interval(value, level, engine=engine, device=instance.device.name, known=familiar)


def _assumptions(instance: Instance, served: Serving | None) -> tuple[str, ...]:
    found = []
    if instance.engine == "any":
        found.append(f"engine: not given, {DEFAULT_ENGINE} is assumed")
    if served is not None and served.unknown:
        found.append(f"not measured, so the nearest factors stand in: {', '.join(served.unknown)}")
    return tuple(found)
