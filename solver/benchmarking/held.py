"""Held against: what a tool measured, or an engine printed as it started, beside what is predicted of the plan.

Percentiles are those of the plan played in service (`shardproof simulate`); means of a closed loop are those of
``predict``. The interval is that of held-out residuals of ``predict``'s means, taken in proportion at every
percentile. A start log is held against the engine's own account of the stage that binds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from typing import Literal

from shardproof.formulations.open_loop import is_open
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Plan
from shardproof.instances.reading import refuse
from shardproof.solver.benchmarking.load import Load, loads_of
from shardproof.solver.benchmarking.results import FIGURES, Measured
from shardproof.solver.benchmarking.start_logs import StartLog
from shardproof.solver.evaluation.engine_flags import engine_account
from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.groups import questions
from shardproof.solver.evaluation.predictions import Prediction, predict
from shardproof.solver.simulation.outcome import QUANTILES, Outcome
from shardproof.solver.simulation.simulate import SimulationSettings, simulate

Verdict = Literal["inside", "outside", "no interval"]
NEAR = 0.05
"""Lengths and concurrency that differ by more are another load; an account that differs by more is off."""


@dataclass(frozen=True)
class Row:
    """One figure, predicted and measured, with the interval of the prediction (``None``: none is known)."""

    quantity: str
    at: str
    unit: str
    predicted: float
    measured: float
    low: float | None = None
    high: float | None = None

    @property
    def ratio(self) -> float | None:
        """Measured over predicted."""
        return self.measured / self.predicted if self.predicted else None

    @property
    def verdict(self) -> Verdict:
        """Whether the measurement lies within the interval."""
        if self.low is None or self.high is None:
            return "no interval"
        return "inside" if self.low <= self.measured <= self.high else "outside"


@dataclass(frozen=True)
class Held:
    """All figures of one run or one log, what is off, and what makes the two less comparable."""

    source: str
    rows: tuple[Row, ...]
    findings: tuple[str, ...]

    @property
    def outside(self) -> tuple[Row, ...]:
        """Figures outside their interval."""
        return tuple(row for row in self.rows if row.verdict == "outside")


def hold_results(
    instance: Instance, plan: Plan, measured: Measured, *, scenario: str | None, level: float, seeds: int
) -> Held:
    """Hold a tool's run against a plan.

    Raises
    ------
    InputError
        If the scenario is not of the instance.
    """
    names = [item.name for item in instance.scenarios]
    if scenario is not None and scenario not in names:
        raise refuse("command line", f"is none of {', '.join(names)}", field="--scenario", value=scenario)
    place = names.index(scenario) if scenario is not None else 0
    outcome = simulate(instance, plan, SimulationSettings(seeds=seeds))[place]
    prediction = _prediction(instance, plan, names[place], level)
    rows = (*_times(outcome, prediction, measured), *_rates(outcome, measured))
    unknown = "no measurements of such a load were held out: nothing is called inside or outside"
    notes = [] if any(row.low is not None for row in rows) else [unknown]
    notes += [*_off(rows, prediction), *_another_load(loads_of(instance)[place], measured)]
    return Held(measured.tool, rows, tuple(notes))


def _prediction(instance: Instance, plan: Plan, scenario: str, level: float) -> Prediction | None:
    """What ``predict`` says; ``None`` of mixed fleets and open loads, which are played alone."""
    if plan.groups or is_open(instance):
        return None
    return next(one for one in predict(instance, plan, level=level) if one.scenario == scenario)


def _times(outcome: Outcome, prediction: Prediction | None, measured: Measured) -> Iterator[Row]:
    for name in FIGURES:
        low, high = _doubt(name, prediction)
        for at, percent in (("mean", None), *((f"p{percent}", percent) for percent in QUANTILES)):
            value = measured.figures.get(name, {}).get(at)
            if value is None:
                continue
            told = None if percent is not None or prediction is None else _mean(name, prediction)
            expected = outcome.figure(name, percent).value / 1e6 if told is None else told
            bounds = (None, None) if low is None or high is None else (expected * low, expected * high)
            yield Row(name, at, "ms", expected, value, *bounds)


def _is_loop(prediction: Prediction) -> bool:
    return bool(prediction.intervals)


def _mean(name: str, prediction: Prediction) -> float | None:
    if not _is_loop(prediction):
        return None
    return {"ttft": prediction.ttft_s * 1e3, "tpot": prediction.tpot_ms}.get(name)


def _doubt(name: str, prediction: Prediction | None) -> tuple[float | None, float | None]:
    """Bounds of measured over predicted."""
    key, point = {"ttft": ("ttft_s", "ttft_s"), "tpot": ("tpot_ms", "tpot_ms")}.get(name, ("", ""))
    found = None if prediction is None else prediction.intervals.get(key)
    if found is None or prediction is None or not getattr(prediction, point):
        return None, None
    return found.low / getattr(prediction, point), found.high / getattr(prediction, point)


def _rates(outcome: Outcome, measured: Measured) -> Iterator[Row]:
    expected = outcome.throughput()
    for name, value in measured.rates.items():
        yield Row(name, "mean", "/s", expected[name], value)


def _off(rows: tuple[Row, ...], prediction: Prediction | None) -> Iterator[str]:
    """Say which time outside its interval is farthest from its prediction, and what stands behind it."""
    outside = {row.quantity for row in rows if row.verdict == "outside"}
    means = {row.quantity: row.ratio for row in rows if row.at == "mean" and row.quantity in outside and row.ratio}
    if not means:
        return
    worst = max(means, key=lambda name: abs(log(means[name] or 1)))
    behind = {
        "ttft": "prefill, or the queue before it",
        "tpot": "decode iterations",
        "itl": "single iterations: chunks of prompts beside the tokens",
        "e2e": "all of a request",
    }[worst]
    largest = next(iter(prediction.operations), None) if prediction is not None and worst != "ttft" else None
    tail = f"; {largest} takes most of one" if largest else ""
    yield f"{worst} is off, {means[worst]:.2f} x its prediction: {behind}{tail}"


def _another_load(load: Load, measured: Measured) -> Iterator[str]:
    pairs: tuple[tuple[str, float | None, float | None], ...] = (
        ("requests in flight", load.concurrency, measured.concurrency),
        ("requests per second sent", load.rate, measured.rate),
        ("prompt tokens", load.input_tokens, measured.input_tokens),
        ("output tokens", load.output_tokens, measured.output_tokens),
    )
    for words, asked, sent in pairs:
        if asked is not None and sent is not None and abs(sent / asked - 1) > NEAR:
            yield f"another load: {words}: {sent:.6g}, the plan is for {asked:.6g}"
    if measured.failed:
        yield f"{measured.failed} requests failed; they are in no figure"


def hold_log(instance: Instance, plan: Plan, log_: StartLog, *, group: int) -> Held:
    """Hold what an engine printed as it started against its account of one group of replicas.

    Raises
    ------
    InputError
        If the log is another engine's, or there is no such group.
    """
    parts = questions(instance, plan)
    if not 0 <= group < len(parts):
        raise refuse("command line", f"groups are 0 to {len(parts) - 1}", field="--group", value=str(group))
    asked, part = parts[group]
    if asked.engine != log_.engine:
        raise refuse(log_.file, f"is of {log_.engine}, the plan is for {asked.engine}", field="engine")
    account = engine_account(asked, part)
    longest = EnginePlan(asked, part).launch(part.stages[0].option).longest
    expected: dict[str, tuple[str, float]] = {
        "weights": ("GiB", account.weights_bytes / 2**30),
        "activations": ("GiB", account.activation_bytes / 2**30),
        "cuda_graphs": ("GiB", account.graph_bytes / 2**30),
        "kv_cache": ("GiB", account.kv_bytes / 2**30),
        "kv_blocks": ("blocks", float(account.kv_blocks)),
        "kv_tokens": ("tokens", float(account.kv_tokens)),
        "concurrency": ("requests", account.kv_tokens / longest),
        "sequences": ("requests", float(account.max_sequences)),
    }
    rows = []
    for name, (unit, value) in expected.items():
        if name in log_.values and (value or name == "cuda_graphs"):
            seen = log_.values[name] / (2**30 if unit == "GiB" else 1)
            rows.append(Row(name, f"line {log_.lines[name]}", unit, value, seen))
    far = [row for row in rows if row.ratio is not None and abs(row.ratio - 1) > NEAR]
    findings = tuple(f"{row.quantity}: {row.measured:.6g} {row.unit} is {row.ratio:.2f} x the account" for row in far)
    return Held(f"start log of {log_.engine}", tuple(rows), findings)
