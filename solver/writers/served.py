"""What a played service showed, as rows of figures: latencies with their limits, requests reached and asked for."""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.instances.instance import Instance
from shardproof.instances.units import format_duration
from shardproof.instances.workload import ClosedLoop, OpenLoop
from shardproof.solver.result import Metrics, Result

TAIL = 99
_NAMES = {"ttft": "TTFT", "tpot": "TPOT"}


def latencies(instance: Instance, result: Result, metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Yield TTFT and TPOT of the first scenario, 99th percentile and mean, with the limits that are stated."""
    limits, shown = instance.scenarios[0].limits, result.service[0]
    means = {"ttft": f"{metrics.ttft_mean_s:.3f} s", "tpot": f"{metrics.tpot_ms:.2f} ms"}
    for figure, name in _NAMES.items():
        stated = {float(row.percent): row.limit for row in limits.percentiles if row.figure == figure}
        points = shown[f"{figure}_ms"]
        for percent in sorted({TAIL, *stated} & {50, 90, 95, 99}, reverse=True):
            value = points[f"p{percent:g}"]["value"]
            text = "none" if value is None else f"{value / 1e3:.3f} s" if figure == "ttft" else f"{value:.2f} ms"
            yield f"{name} (p{percent:g} in service)", text + limit_text(stated.get(percent))
        yield f"{name} (mean)", means[figure] + limit_text(limits.plain.get(figure))


def knows_mean_alone(instance: Instance) -> bool:
    """Whether the TTFT of a plan's figures is a mean: of closed loops the spread is not known."""
    return all(isinstance(scenario.workload, ClosedLoop) for scenario in instance.scenarios)


def whose_ttft(instance: Instance) -> str:
    """Say of which request the TTFT of a plan's figures is."""
    return "mean in service" if knows_mean_alone(instance) else "slowest request"


def limit_text(limit: float | None) -> str:
    """Say a limit in ns behind a figure."""
    return "" if limit is None else f" (limit {format_duration(round(limit))})"


def answered(instance: Instance, requests_per_s: float) -> str:
    """Say a throughput; of requests that come by themselves it is what was reached, beside what was asked for."""
    loads = [scenario.workload for scenario in instance.scenarios]
    rate = f"{requests_per_s:.4g} requests/s"
    if not all(isinstance(load, OpenLoop) for load in loads):
        return rate
    asked = sum(float(load.rate) for load in loads if isinstance(load, OpenLoop))
    return f"{rate} reached, over a run to its last answer ({asked:.4g}/s arrive)"
