"""Plans side by side with the proven optimum: figures, violations, what is saved, and by which decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardproof.formulations.engines.rules import has_experts
from shardproof.instances.engine_choice import question_of
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan, Stage
from shardproof.solver.audit.own_plan import own_plan
from shardproof.solver.documents.sources import is_command
from shardproof.solver.documents.text import printable
from shardproof.solver.evaluation.figures import Evaluation, ScenarioFigures
from shardproof.solver.open_loop.evaluated import evaluate_any
from shardproof.solver.solve import metrics_of
from shardproof.solver.writers.layout import counted

if TYPE_CHECKING:
    from shardproof.solver.audit.audit import Audit
    from shardproof.solver.result import Result


@dataclass(frozen=True)
class Column:
    """One plan's figures; absent is ``None``. ``gpus``: as the plan states them, ``gpus_used``: by its degrees.

    ``stages`` are those of one replica of each group; ``balance``: mean over slowest stage time, of the worst
    group; utilisations as in ``solve --json`` (memory: the mean over GPUs); ``bubble``: share of GPU-time without
    work; memory in bytes of the fullest device, by part; price in US dollars per hour.
    """

    name: str
    gpus: int | None
    gpus_used: int | None
    stages: tuple[Stage, ...]
    replicas: int | None
    microbatch_requests: int | None
    ttft_s: float | None
    tpot_ms: float | None
    peak_memory_bytes: int | None
    memory_parts: dict[str, int]
    memory_utilisation: float | None
    compute_utilisation: float | None
    balance: float | None
    bubble: float | None
    violations: tuple[str, ...]
    wrong_claims: int | None
    price_per_hour: float | None
    requests_per_s: float | None = None
    output_tokens_per_s: float | None = None
    output_tokens_per_s_per_gpu: float | None = None
    output_tokens_per_s_per_user: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the column as ``compare --json`` prints it."""
        tree = vars(self) | {"stages": [stage.model_dump(mode="json", exclude_none=True) for stage in self.stages]}
        return tree | {"violations": list(self.violations)}


@dataclass(frozen=True)
class Comparison:
    """Columns of the plans, the optimum's column (``None``: no plan exists), and sentences about the saving."""

    instance: Instance
    plans: tuple[Column, ...]
    optimum: Column | None
    result: Result
    savings: tuple[tuple[str, tuple[str, ...]], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``compare --json`` prints."""
        return {
            "plans": [column.to_json() for column in self.plans],
            "optimum": None if self.optimum is None else self.optimum.to_json(),
            "status": self.result.status,
            "proof": self.result.proof,
            "bound": self.result.bound,
            "savings": [{"plan": name, "sentences": list(sentences)} for name, sentences in self.savings],
            "assumptions": list(self.instance.assumptions),
            "instance_fingerprint": self.instance.fingerprint,
        }


def compare(plans: tuple[str | Path | Plan, ...], instance: Instance, result: Result) -> Comparison:
    """Set plans, or sources with plans of any form, beside the result of solving the instance."""
    columns = _told_apart(plans, [columns_of(plan, place, instance, result) for place, plan in enumerate(plans, 1)])
    optimum = None
    if result.plan is not None:
        name = {"optimal": "proven optimum", "feasible": "best found"}.get(result.status, "optimum")
        optimum = _evaluated(name, instance, result.plan)
    routed = has_experts(instance)
    savings = tuple((column.name, _savings(column, optimum, result, routed=routed)) for column in columns)
    return Comparison(instance, columns, optimum, result, savings)


def _told_apart(plans: tuple[str | Path | Plan, ...], found: list[tuple[Column, ...]]) -> tuple[Column, ...]:
    """All columns under names of their own: files of one name by their folder, else by the place of their source."""
    names = Counter(column.name for columns in found for column in columns)
    kept = []
    for place, (plan, columns) in enumerate(zip(plans, found, strict=True), 1):
        for column in columns:
            name = column.name
            if names[name] > 1 and len(columns) == 1 and is_path(plan):
                name = printable("/".join(Path(str(plan)).parts[-2:]), limit=40)
            kept.append((place, column.name, replace(column, name=name)))
    again = Counter(column.name for _, _, column in kept)
    return tuple(
        replace(column, name=f"{own} {place}") if again[column.name] > 1 else column for place, own, column in kept
    )


def is_path(plan: str | Path | Plan) -> bool:
    """Whether a source is a file or folder, and neither a command nor a record."""
    return isinstance(plan, Path) or (isinstance(plan, str) and not is_command(plan))


def columns_of(plan: str | Path | Plan, place: int, instance: Instance, result: Result) -> tuple[Column, ...]:
    """Evaluate a plan, or all plans of a source; a plan without a file is called by its place.

    Raises
    ------
    InputError
        If the source holds no plan.
    """
    if isinstance(plan, Plan):
        return (_evaluated(f"plan {place}", instance, plan),)
    own = own_plan(plan)
    if own is not None:
        name = printable(Path(plan).name, limit=40)
        return (_evaluated(name, instance, own),)
    from shardproof.solver.audit.review import review

    found = review(plan, instance)
    return tuple(_audited(audit, instance, result, several=len(found.audits) > 1) for audit in found.audits)


def _audited(audit: Audit, instance: Instance, result: Result, *, several: bool) -> Column:
    """The column of a plan that was read from a document."""
    from shardproof.solver.audit.completion import judge_minimal

    document = audit.document
    name = printable(f"{document.name} {document.plan}".strip() if several else document.name, limit=40)
    best, stated = audit.context.best, audit.context.facts.gpus
    broken = tuple(dict.fromkeys(f"{item.group}[{item.index}]" for item in audit.violations))
    wrong = sum(judge_minimal(claim, audit.context, result.gpus).wrong for claim in audit.claims)
    if best is None:
        return _empty(name, stated, broken or ("the stated parts make no plan",), wrong)
    column = _column(name, instance, best.plan, best.evaluation)
    price = _price(instance, stated) if stated else column.price_per_hour
    return Column(
        **vars(column)
        | {
            "gpus": stated or column.gpus,
            "violations": broken,
            "wrong_claims": wrong,
            "price_per_hour": price,
        }
    )


def _evaluated(name: str, instance: Instance, plan: Plan) -> Column:
    """The column of a plan, under the engine that it names where the question names none."""
    asked = question_of(instance, plan)
    return _column(name, asked, plan, evaluate_any(asked, plan))


def _column(name: str, instance: Instance, plan: Plan, evaluation: Evaluation) -> Column:
    broken = tuple(dict.fromkeys(f"{item.group}[{item.index}]" for item in evaluation.violations))
    if not evaluation.scenarios:
        return _empty(name, plan.gpus, broken, None)
    first = [group.scenarios[0] for group in evaluation.groups]
    metrics = metrics_of(instance, plan, evaluation)
    fullest = max((stage for figures in first for stage in figures.stages), key=lambda stage: stage.memory)
    figures, largest = first[0], max(plan.parts, key=lambda group: group.microbatch_tokens)
    runs = largest.microbatches[0].prefill_requests if largest.microbatches else None
    return Column(
        name=name,
        gpus=plan.gpus,
        gpus_used=plan.gpus,
        stages=tuple(stage for group in plan.parts for stage in group.stages),
        replicas=plan.replicas,
        microbatch_requests=runs or max(1, plan.microbatch_tokens // figures.scenario.workload.input_tokens),
        ttft_s=evaluation.ttft / 1e9,
        tpot_ms=evaluation.tpot / 1e6,
        peak_memory_bytes=evaluation.peak_memory,
        memory_parts={part: size for part, size in fullest.memory_bytes.items() if size},
        memory_utilisation=metrics.memory_utilisation,
        compute_utilisation=metrics.compute_utilisation,
        balance=min((found for figures in first if (found := _balance(figures)) is not None), default=None),
        bubble=1 - metrics.compute_utilisation,
        violations=broken,
        wrong_claims=None,
        price_per_hour=_price(instance, plan.gpus),
        requests_per_s=metrics.requests_per_s,
        output_tokens_per_s=metrics.output_tokens_per_s,
        output_tokens_per_s_per_gpu=metrics.output_tokens_per_s_per_gpu,
        output_tokens_per_s_per_user=metrics.output_tokens_per_s_per_user,
    )


def _balance(figures: ScenarioFigures) -> float | None:
    """Mean over slowest stage time of a pipeline."""
    times = [stage.iteration if figures.is_loop else stage.prefill for stage in figures.stages]
    return sum(times) / len(times) / max(times) if max(times) else None


def _empty(name: str, gpus: int | None, violations: tuple[str, ...], wrong: int | None) -> Column:
    return Column(
        name, gpus, None, (), None, None, None, None, None, {}, None, None, None, None, violations, wrong, None
    )


def _price(instance: Instance, gpus: int) -> float | None:
    price: Fraction | None = instance.device.price_per_hour
    return None if price is None else float(price * gpus)


def _savings(column: Column, optimum: Column | None, result: Result, *, routed: bool) -> tuple[str, ...]:
    """What the optimum saves against a plan, and which decisions differ."""
    if optimum is None or optimum.gpus is None:
        return (f"no plan exists within the limits ({result.status}): there is nothing to compare with",)
    found = []
    best = "optimum" if result.status == "optimal" else "best found"
    if column.gpus is not None:
        found.append(f"{_counts(column, optimum, best)}; TTFT {optimum.ttft_s:.3g} s")
        if result.bound is not None and column.gpus < result.bound:
            found.append(f"the plan asks for {column.gpus} GPUs, fewer than the proven {result.bound}: it cannot hold")
    if column.violations:
        shown = ", ".join(column.violations[:6]) + (" ..." if len(column.violations) > 6 else "")
        found.append(f"the plan breaks {shown}; the {best} breaks nothing")
    if column.gpus and column.gpus_used and column.gpus != column.gpus_used:
        found.append(
            f"{column.gpus - column.gpus_used} of its {column.gpus} GPUs do no work: its degrees use {column.gpus_used}"
        )
    if column.price_per_hour and optimum.price_per_hour and column.price_per_hour != optimum.price_per_hour:
        found.append(f"{optimum.price_per_hour:.4g} instead of {column.price_per_hour:.4g} USD/h")
    return tuple(found + _decisions(column, optimum, routed=routed))


def _counts(column: Column, optimum: Column, best: str) -> str:
    """The GPUs of both; a plan that breaks a limit is never said to do with as many, or with fewer."""
    assert column.gpus is not None
    assert optimum.gpus is not None
    own, times = counted(column.gpus, "GPU"), column.gpus / optimum.gpus
    if times > 1:
        return f"{optimum.gpus} instead of {column.gpus} GPUs; {times:.3g}x fewer"
    if column.violations:
        broken = column.violations[0].partition("[")[0]
        also = f" and {len(column.violations) - 1} more" if len(column.violations) > 1 else ""
        return f"{own}, but it breaks {broken}{also}; the {best} keeps every limit with {optimum.gpus}"
    return f"{own}, as many as the {best}" if times == 1 else f"{own}, fewer than the {best}'s {optimum.gpus}"


def _decisions(column: Column, optimum: Column, *, routed: bool) -> list[str]:
    """Say which decisions differ; feed-forward parts without experts are cut as attention is, and decide nothing."""
    if not column.stages:
        return []
    pairs = [
        ("stages", len(column.stages), len(optimum.stages)),
        ("replicas", column.replicas, optimum.replicas),
        ("layers per stage", _layers(column), _layers(optimum)),
        ("attention TP x DP", _degrees(column, "attn_tp", "attn_dp"), _degrees(optimum, "attn_tp", "attn_dp")),
        *(
            [("expert TP x EP", _degrees(column, "moe_tp", "moe_ep"), _degrees(optimum, "moe_tp", "moe_ep"))]
            if routed
            else []
        ),
        ("requests per microbatch", column.microbatch_requests, optimum.microbatch_requests),
    ]
    return [f"decision: {name} {mine} -> {best}" for name, mine, best in pairs if mine != best]


def _layers(column: Column) -> str:
    return "/".join(str(stage.layers[1] - stage.layers[0] + 1) for stage in column.stages)


def _degrees(column: Column, first: str, second: str) -> str:
    return "/".join(dict.fromkeys(f"{getattr(stage, first)}x{getattr(stage, second)}" for stage in column.stages))
