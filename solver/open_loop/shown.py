"""What a played plan shows: its figures, one sentence for each limit, and its documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite

from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.units import format_duration
from shardproof.solver.open_loop.evaluated import evaluate_judged
from shardproof.solver.open_loop.judge import Judged, Verdict
from shardproof.solver.result import Metrics
from shardproof.solver.solve import annotated, metrics_of


def measured(instance: Instance, shown: Judged) -> tuple[Plan, Metrics]:
    """Return the plan with memory and times of its stages, and its figures: latencies are those that were played."""
    evaluation = evaluate_judged(instance, shown)
    plan = shown.plan.with_parts(tuple(map(annotated, evaluation.groups)))
    plan = plan.model_copy(update={"instance_fingerprint": instance.fingerprint})
    return plan, metrics_of(instance, plan, evaluation)


def sentences(shown: Judged) -> Iterator[str]:
    """Say of every limit what the service showed."""
    yield from said(shown.verdicts)


def said(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Say of limits what the service showed."""
    for verdict in verdicts:
        if verdict.limit_name == "goodput":
            good = f"{verdict.found.low:.2%} of the requests or more are good"
            yield f"{verdict.scenario}: {good}, limit {verdict.limit:.2%}"
        else:
            found = verdict.found
            value, low, high, limit = map(format_time, (found.value, found.low, found.high, verdict.limit))
            yield f"{verdict.scenario}: {verdict.limit_name} in service {value} ({low} to {high}), limit {limit}"


def format_time(nanoseconds: float) -> str:
    """Write a time for people, also one that never comes."""
    return format_duration(round(nanoseconds)) if isfinite(nanoseconds) else "no end"


def documents(shown: Judged) -> Iterator[dict[str, object]]:
    """Yield a document for each played scenario, without its course over time."""
    for outcome in shown.outcomes:
        document = outcome.to_json()
        document.pop("over_time")
        yield document
