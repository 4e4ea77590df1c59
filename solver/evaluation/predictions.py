"""Predictions of a given plan: TTFT, TPOT, time by operation, memory by part, and the doubt in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from shardproof.formulations.apart.phases import as_together
from shardproof.formulations.costs.engine_memory import EngineMemory
from shardproof.formulations.costs.engine_profiles import load_profiles
from shardproof.formulations.costs.serving.closed_loop import StepClock
from shardproof.formulations.costs.serving.confidence import Interval
from shardproof.formulations.costs.serving.doubt import Quantity, interval_of
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import decode_step
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Pool
from shardproof.instances.speculative import MILLION, Speculation
from shardproof.solver.evaluation.engine_flags import engine_account
from shardproof.solver.evaluation.engine_plan import EnginePlan, require_plan_of
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.figures import Evaluation, ScenarioFigures, Throughput, Violation
from shardproof.solver.evaluation.groups import pool_names, questions
from shardproof.solver.problem import NOT_GUESSING, deployment_of

DEFAULT_ENGINE = "vllm"


FITTED = "serving factors fitted to measurements"
"""Basis of a prediction whose operations are terms of the fit."""


@dataclass(frozen=True)
class Prediction:
    """What a plan is expected to do under one scenario; ``basis`` says which cost model spoke.

    ``group``: place of the group of a mixed fleet that this is about (``None``: all replicas are alike); ``pool``: the
    phase that it serves alone, its times those of requests that pass through both pools.
    """

    scenario: str
    basis: str
    ttft_s: float
    tpot_ms: float
    throughput: Throughput
    running: int
    requests: int
    operations: dict[str, int]
    memory_bytes: dict[str, int]
    intervals: dict[str, Interval]
    engine_memory: EngineMemory | None
    assumptions: tuple[str, ...]
    group: int | None = None
    pool: Pool | None = None
    violations: tuple[Violation, ...] = ()
    guessing: str | None = None
    """What guesses tokens ahead, and how many an iteration gives; operations are then those of one token."""
    served: dict[str, Any] | None = None
    """What requests that come by themselves saw of the plan: the document of ``simulate --json`` (``None``: others)."""
    said: tuple[str, ...] = ()
    """One sentence for each limit of such requests."""

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``predict --json``."""
        document: dict[str, Any] = {
            **({} if self.group is None else {"group": self.group}),
            **({} if self.pool is None else {"pool": self.pool}),
            "scenario": self.scenario,
            "basis": self.basis,
            "ttft_s": self.ttft_s,
            "tpot_ms": self.tpot_ms,
            **({} if self.guessing is None else {"speculative": self.guessing}),
            **asdict(self.throughput),
            "running_requests": self.running,
            "requests_in_flight": self.requests,
            "operations": [{"name": name, "time_ns": time} for name, time in self.operations.items()],
            "memory_bytes": self.memory_bytes,
            "confidence": {name: asdict(found) for name, found in self.intervals.items()},
            "engine_memory": None,
            "assumptions": list(self.assumptions),
            "violations": [asdict(found) for found in self.violations],
            **({} if self.served is None else {"service": self.served}),
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

    Every figure is the one that `solve` would state of the same plan. A mixed fleet is predicted group by group, each
    with its share of the requests, the slowest TTFT first.

    Raises
    ------
    InputError
        If the plan is not one of the instance's model.
    """
    if plan.is_apart:
        return tuple(_apart(instance, plan, level))
    if plan.groups:
        found = []
        for place, (asked, part) in enumerate(questions(instance, plan)):
            found += [replace(one, group=place) for one in predict(asked, part, level=level)]
        return tuple(sorted(found, key=lambda one: -one.ttft_s))
    require_plan_of(instance, plan)
    deployment = deployment_of(as_together(instance))  # such replicas serve both phases, whatever else was asked
    evaluation = evaluate(instance, plan, deployment=deployment)
    return of_evaluation(deployment, plan, evaluation, level=level)


def _apart(instance: Instance, plan: Plan, level: float | None) -> Iterator[Prediction]:
    """Predict the groups of both pools, each with the times of the requests that pass through both."""
    whole, names = evaluate(instance, plan), pool_names(plan)
    for place, (asked, part) in enumerate(questions(instance, plan)):
        for one in predict(asked, part, level=level):
            figures = [found for found in whole.scenarios if found.scenario.name == one.scenario]
            yield replace(
                one,
                group=place,
                pool=names[place],
                ttft_s=max(found.ttft for found in figures) / 1e9,
                tpot_ms=max(found.tpot for found in figures) / 1e6,
                throughput=whole.throughput(one.scenario),
            )


def of_evaluation(
    deployment: Deployment, plan: Plan, evaluation: Evaluation, *, level: float | None = None
) -> tuple[Prediction, ...]:
    """Predict a plan of one shape from its figures, scenario by scenario."""
    return tuple(_scenario(deployment, plan, evaluation, figures, level) for figures in evaluation.scenarios)


def _scenario(
    deployment: Deployment, plan: Plan, evaluation: Evaluation, figures: ScenarioFigures, level: float | None
) -> Prediction:
    instance = deployment.instance
    fullest = max(figures.stages, key=lambda stage: stage.memory)
    fitted = deployment.serving if figures.is_loop and figures.phase != "prefill" else None
    operations = (
        _operations(figures) if fitted is None else _fitted_operations(fitted, plan, figures, instance.speculative)
    )
    tpot, both = figures.tpot / 1e6, figures.phase == "both"
    return Prediction(
        scenario=figures.scenario.name,
        basis="operations of the instance's clock" if fitted is None else FITTED,
        ttft_s=figures.ttft / 1e9,
        tpot_ms=tpot,
        throughput=evaluation.throughput(figures.scenario.name),
        running=figures.running,
        requests=figures.requests,
        operations=dict(sorted(operations.items(), key=lambda item: -item[1])),
        memory_bytes=_held(figures, fullest.memory_bytes),
        intervals={} if level is None or fitted is None or not both else _intervals(instance, figures, level),
        engine_memory=engine_memory(instance, plan),
        assumptions=(*_assumptions(instance, fitted, plan), *_not_in_doubt(instance, level)),
        violations=_violations(instance, plan, evaluation, figures),
        guessing=None if instance.speculative is None else instance.speculative.text,
    )


def _held(figures: ScenarioFigures, memory: dict[str, int]) -> dict[str, int]:
    """Memory by part while the requests run that find room; those that wait hold no cache."""
    if figures.running >= figures.requests:
        return memory
    return memory | {"kv_cache": divide_up(memory["kv_cache"] * figures.running, figures.requests)}


def _violations(
    instance: Instance, plan: Plan, evaluation: Evaluation, figures: ScenarioFigures
) -> tuple[Violation, ...]:
    """Rules and limits that a plan breaks in a scenario.

    Requests of a closed loop that find no room wait; then memory holds the longest request alone, as at start-up.
    """
    name = figures.scenario.name
    waits = figures.is_loop and EnginePlan(instance, plan).starts
    kept = {f"ttft[{name}]", f"tpot[{name}]"} | (set() if waits else {f"memory[{name}]"})
    own = [item for item in evaluation.violations if item.group in kept]
    told = "running" if not figures.is_loop else "none"
    rest = (item for item in evaluation.violations if "[" not in item.group or item.group.startswith(told))
    return (*rest, *own)


def _operations(figures: ScenarioFigures) -> dict[str, int]:
    """Nanoseconds of one decode microbatch by operation, over all stages, and of the prompts beside it.

    Of one prefill microbatch, where replicas prefill alone.
    """
    found: Counter[str] = Counter()
    for stage in figures.stages:
        found.update(stage.prefill_ns if figures.phase == "prefill" else stage.decode_ns)
    if figures.phase == "prefill":
        return dict(found)
    return dict(found) | _beside(figures)


def _fitted_operations(
    clock: StepClock, plan: Plan, figures: ScenarioFigures, guessed: Speculation | None
) -> dict[str, int]:
    """Nanoseconds of one iteration by term of the fit, under the option of the longest stage; of guesses their sum.

    Where an iteration gives more than one token, of one token.
    """
    option = max(plan.stages, key=lambda stage: stage.layers[1] - stage.layers[0]).option
    step = decode_step(figures.scenario, divide_up(figures.running, figures.decode_microbatches), guessed)
    sequences = max(1.0, step.requests / option.attn_dp)
    terms = clock.operations(option, sequences=sequences, context=step.context, tokens=step.tokens)
    if guessed is not None and guessed.draft is not None:
        terms["draft"] = clock.guesses(guessed, option, step)
    found = {name: round(1e9 * time * MILLION / step.gives) for name, time in terms.items()}
    between = sum(stage.decode for stage in figures.stages) - sum(found.values())
    return found | ({"between_stages": between} if len(plan.stages) > 1 and between > 0 else {}) | _beside(figures)


def _beside(figures: ScenarioFigures) -> dict[str, int]:
    added = sum(stage.iteration - stage.decode for stage in figures.stages) if figures.is_loop else 0
    return {"prefill_of_others": added} if added else {}


def engine_memory(instance: Instance, plan: Plan) -> EngineMemory | None:
    """Account as the engine will at start-up; ``None`` for engines without a profile or stages that differ."""
    options = {stage.option for stage in plan.stages}
    if _engine(instance) not in load_profiles().engines or len(options) != 1:
        return None
    return engine_account(instance, plan)


def _engine(instance: Instance) -> str:
    return DEFAULT_ENGINE if instance.engine == "any" else instance.engine


def _intervals(instance: Instance, figures: ScenarioFigures, level: float) -> dict[str, Interval]:
    quantity: Quantity = "ttft" if figures.running >= figures.requests else "ttft_waiting"
    return {
        "ttft_s": interval_of(instance, quantity, figures.ttft / 1e9, level),
        "tpot_ms": interval_of(instance, "tpot", figures.tpot / 1e6, level),
    }


def _not_in_doubt(instance: Instance, level: float | None) -> tuple[str, ...]:
    """What an interval says nothing of."""
    said = f"the interval is that of measured deployments; {NOT_GUESSING}"
    return () if level is None or instance.speculative is None else (said,)


def _assumptions(instance: Instance, fitted: StepClock | None, plan: Plan) -> tuple[str, ...]:
    found = []
    if instance.engine == "any":
        found.append(f"engine: not given, {DEFAULT_ENGINE} is assumed")
    unknown = () if fitted is None else fitted.factors(plan.stages[0].option).unknown
    if unknown:
        found.append(f"not measured, so the nearest factors stand in: {', '.join(unknown)}")
    return tuple(found)
