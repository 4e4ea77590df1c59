"""Measured first tokens of closed loops, each beside what the planner computes for that deployment.

A row becomes an instance and a plan, and is evaluated as `shardproof predict` evaluates them; nothing here knows a
harness or a release. Left out are rows whose concurrency is a peak and no level: by Little's law (measured
throughput times time in the system) or by the row's own flags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.fidelity.figure import Figure, figure, share_figure
from benchmarks.fidelity.memory import number, read_rows
from benchmarks.fidelity.rows import ServingRow, read_serving
from shardproof.formulations.costs.serving.doubt import Quantity, interval_of
from shardproof.formulations.costs.serving.factors import Setting
from shardproof.instances.calibration import calibration_digest, calibration_for
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Microbatches, Plan, Stage
from shardproof.instances.workload import ClosedLoop, Limits, Scenario
from shardproof.solver.evaluation.evaluate import evaluate as evaluate_plan
from shardproof.solver.evaluation.figures import ScenarioFigures
from shardproof.solver.problem import deployment_of

LEVEL_WITHIN = 1.6
"""Largest ratio of the stated concurrency to the requests in the system that still makes it a level."""
NO_LEVEL = ("open_loop_burst",)
QUEUED = "queue_dominated_ttft"
TARGET, P90_TARGET, REFUSED_TARGET = 0.18, 0.60, 0.03
COVERED, COVERAGE_TARGET = (0.5, 0.8, 0.9, 0.95), 0.03
LOOSE = 2
"""A deployment is refused when its own TTFT exceeds this many times the measured one."""


@dataclass(frozen=True)
class FirstToken:
    """One measured deployment and its figures; ``layout`` names what is held out together.

    ``prefill_ms`` and ``iteration_ms``: the terms of the first token's formula; ``sequences``: requests that one
    attention replica runs together; ``queued``: whether the row's own remarks call its TTFT a queue.
    """

    row: ServingRow
    layout: str
    setting: Setting
    figures: ScenarioFigures
    prefill_ms: float
    iteration_ms: float
    sequences: float
    queued: bool

    @property
    def measured_ms(self) -> float:
        """Measured TTFT."""
        assert self.row.ttft_ms is not None
        return self.row.ttft_ms

    @property
    def predicted_ms(self) -> float:
        """TTFT that `predict`, `solve` and `audit` state."""
        return self.figures.ttft / 1e6

    @property
    def admitted(self) -> bool:
        """Whether all requests find room at once."""
        return self.figures.running >= self.figures.requests


def read_first_tokens(folder: Path) -> Iterator[FirstToken]:
    """Rows of closed loops with a measured TTFT, whose concurrency is a level."""
    raw = {row["id"]: row for row in read_rows(folder / "system_level.csv.gz")}
    for row in read_serving(folder):
        source = raw[row.key]
        if row.mode == "agg" and row.ttft_ms and is_level(row, source):
            yield _first_token(row, queued=QUEUED in source["flags"])


def is_level(row: ServingRow, source: Mapping[str, str]) -> bool:
    """Whether a row's concurrency is the number of requests in the system, as far as the row can tell."""
    if any(flag in source["flags"] for flag in NO_LEVEL):
        return False
    rate = number(source["out_tok_s"])
    stated = number(source["concurrency"])
    if rate is None or stated is None or source["tok_s_kind"] != "measured":
        return True
    seconds = ((row.ttft_ms or 0.0) + row.output_tokens * row.tpot_ms) / 1e3
    inside = rate / row.output_tokens * seconds
    return 1 / LEVEL_WITHIN < inside / stated < LEVEL_WITHIN


def instance_of(row: ServingRow, limits: Limits | None = None) -> Instance:
    """Return the question that a user would ask about a row's deployment."""
    workload = ClosedLoop(
        input_tokens=max(1, round(row.input_tokens)),
        output_tokens=max(1, round(row.output_tokens)),
        concurrency=max(1, round(row.concurrency)),
    )
    name, device = row.device.name, row.device
    curves = calibration_for(name, device, engine=row.engine)
    gpus = row.option.gpus * row.stages
    return Instance(
        name=row.key,
        model=row.launched,
        device=device,
        activations="bf16",
        engine=row.engine if row.engine in ("vllm", "sglang", "trtllm") else "any",  # type: ignore[arg-type]
        scenarios=(Scenario(workload=workload, limits=limits or Limits()),),
        memory_limit=device.usable_memory,
        max_gpus=gpus,
        max_stage_gpus=gpus,
        runtime_reserve=0,
        calibration=None if curves is None else (name, calibration_digest(name)),
    )


def plan_of(row: ServingRow) -> Plan:
    """Return a row's deployment: equal stages, one replica."""
    option, layers = row.option, row.model.layer_count
    cuts = [layers * place // row.stages for place in range(row.stages + 1)]
    stages = tuple(Stage.of((first, after - 1), option) for first, after in pairwise(cuts))
    usual = Microbatches(scenario="main", prefill_requests=1, decode_microbatches=1)
    return Plan(replicas=1, microbatch_tokens=max(1, round(row.input_tokens)), microbatches=(usual,), stages=stages)


def _first_token(row: ServingRow, *, queued: bool) -> FirstToken:
    instance = instance_of(row)
    deployment = deployment_of(instance)
    figures = evaluate_plan(instance, plan_of(row), deployment=deployment).scenarios[0]
    serving = deployment.serving
    assert serving is not None
    setting = serving.setting(row.option)
    parts = (setting.key(("arch", "precision", "device", "engine")), str(row.option), str(row.stages))
    return FirstToken(
        row=row,
        layout="|".join(parts),
        setting=setting,
        figures=figures,
        prefill_ms=sum(stage.prefill for stage in figures.stages) / 1e6,
        iteration_ms=sum(stage.iteration for stage in figures.stages) / 1e6,
        sequences=max(1.0, figures.running / row.option.attn_dp),
        queued=queued,
    )


def evaluate_first_tokens(rows: Sequence[FirstToken]) -> list[Figure]:
    """Errors of first tokens, and the share of measured deployments that the limits of `solve` would refuse."""
    errors = [row.predicted_ms / row.measured_ms - 1 for row in rows]
    waiting = sum(not row.admitted for row in rows)
    refused = [row.predicted_ms > LOOSE * row.measured_ms for row in rows]
    return [
        figure("TTFT, closed loop", errors, target=TARGET, note=f"{waiting} rows wait for room by the memory account"),
        figure("TTFT, closed loop, tail", errors, target=P90_TARGET, statistic="p90"),
        share_figure(f"deployments refused at {LOOSE}x their TTFT", refused, target=REFUSED_TARGET),
    ]


def coverage(rows: Sequence[FirstToken], engine: str | None = None) -> list[Figure]:
    """How far the share of rows that the shipped intervals hold lies from their level (``None``: of all engines)."""
    chosen = [row for row in rows if engine in (None, row.row.engine)]
    found = []
    for level in COVERED:
        inside = [holds(row, level) for row in chosen]
        share = sum(inside) / len(inside) if inside else None
        name = f"TTFT intervals of {level:.0%}" + ("" if engine is None else f", {engine}")
        off = None if share is None else abs(share - level)
        note = "" if share is None else f"they hold {share:.1%}"
        found.append(Figure(name, len(inside), None, None, COVERAGE_TARGET, "share", note, share=off))
    return found


def holds(row: FirstToken, level: float) -> bool:
    """Whether the interval about a row's prediction holds the measurement."""
    quantity: Quantity = "ttft" if row.admitted else "ttft_waiting"
    found = interval_of(instance_of(row.row), quantity, row.predicted_ms, level)
    return found.low <= row.measured_ms <= found.high


def evaluate(folder: Path) -> list[Figure]:
    """Figures of the shipped factors over a folder."""
    rows = list(read_first_tokens(folder))
    engines = sorted({row.row.engine for row in rows})
    return evaluate_first_tokens(rows) + [one for engine in (None, *engines) for one in coverage(rows, engine)]
