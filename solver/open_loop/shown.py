"""What a played plan shows: its figures, one sentence for each limit, and its documents."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, isfinite

from shardproof.formulations.open_loop import closed
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.workload import OpenLoop
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.figures import Evaluation
from shardproof.solver.open_loop.judge import Judged
from shardproof.solver.problem import deployment_of
from shardproof.solver.result import Metrics
from shardproof.solver.simulation.outcome import Outcome
from shardproof.solver.simulation.simulate import Service
from shardproof.solver.solve import annotated, metrics_of


def measured(instance: Instance, service: Service, shown: Judged) -> tuple[Plan, Metrics]:
    """Return the plan with memory and times of its stages, and its figures: latencies are those that were played."""
    evaluation = in_flight(instance, shown)
    plan = shown.plan.with_parts(tuple(map(annotated, evaluation.groups)))
    plan = plan.model_copy(update={"instance_fingerprint": instance.fingerprint})
    return plan, metrics_of(service.deployment.instance, plan, evaluation).model_copy(update=_served(shown))


def in_flight(instance: Instance, shown: Judged) -> Evaluation:
    """Return a plan's figures with as many requests in flight as were on average when it was played."""
    pairs = zip(instance.scenarios, shown.outcomes, strict=True)
    flight = {scenario.name: _flight(outcome) for scenario, outcome in pairs if isinstance(scenario.workload, OpenLoop)}
    question = closed(instance, flight)
    return evaluate(question, shown.plan, deployment=deployment_of(question))


def _flight(outcome: Outcome) -> int:
    """Requests in flight on average, by Little's law: completions a second times their end-to-end time."""
    seconds = outcome.figure("e2e", None).value / 1e9
    return max(1, ceil(outcome.throughput()["requests_per_s"] * seconds)) if isfinite(seconds) else 1


def _served(shown: Judged) -> dict[str, float]:
    """Latencies that the service showed: p99 and mean of TTFT, mean of TPOT; and throughput of the first scenario."""
    seen, speed = shown.outcomes, shown.outcomes[0].throughput()
    tpot = max(outcome.figure("tpot", None).value for outcome in seen)
    return {
        "ttft_s": max(outcome.figure("ttft", 99).value for outcome in seen) / 1e9,
        "ttft_mean_s": max(outcome.figure("ttft", None).value for outcome in seen) / 1e9,
        "tpot_ms": tpot / 1e6,
        "requests_per_s": speed["requests_per_s"],
        "output_tokens_per_s": speed["output_tokens_per_s"],
        "total_tokens_per_s": speed["output_tokens_per_s"] + speed["input_tokens_per_s"],
        "output_tokens_per_s_per_gpu": speed["output_tokens_per_s"] / shown.plan.gpus,
        "output_tokens_per_s_per_user": 1e9 / max(1.0, tpot),
    }


def sentences(shown: Judged) -> Iterator[str]:
    """Say of every limit what the service showed."""
    for verdict in shown.verdicts:
        if verdict.limit_name == "goodput":
            good = f"{verdict.found.low:.2%} of the requests or more are good"
            yield f"{verdict.scenario}: {good}, limit {verdict.limit:.2%}"
        else:
            low, high = verdict.found.low / 1e6, verdict.found.high / 1e6
            yield (
                f"{verdict.scenario}: {verdict.limit_name} in service {verdict.found.value / 1e6:.4g} ms"
                f" ({low:.4g} to {high:.4g}), limit {verdict.limit / 1e6:.4g} ms"
            )


def documents(shown: Judged) -> Iterator[dict[str, object]]:
    """Yield a document for each played scenario, without its course over time."""
    for outcome in shown.outcomes:
        document = outcome.to_json()
        document.pop("over_time")
        yield document
