"""Serving: TPOT, TTFT and prefill iterations, as shipped and with whole groups held out of the fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.fidelity import fit_serving
from benchmarks.fidelity.capacity import most_running, untold_limit
from benchmarks.fidelity.figure import Figure, figure
from benchmarks.fidelity.fit_serving import fitted_rows
from benchmarks.fidelity.memory import number, read_rows
from benchmarks.fidelity.rows import ServingRow, find_model, read_serving, trusted_rows
from benchmarks.fidelity.serving_arrays import Arrays, arrays
from shardproof.formulations.costs.serving.architecture import device_key
from shardproof.formulations.costs.serving.closed_loop import Serving, StepClock
from shardproof.formulations.costs.serving.confidence import interval
from shardproof.formulations.costs.serving.factors import is_known, setting_of
from shardproof.formulations.costs.serving.prefill import floor_of, iteration_ms, nominal_ms
from shardproof.instances.catalogue import load_device
from shardproof.instances.option import Option

KNOWN_TARGET, UNSEEN_TARGET, STEP_TARGET = 0.06, 0.13, 0.08
WIDE_RANKS, WIDE_TARGET = 16, 0.15
KNOWN_P90_TARGET, COVERAGE_TARGET = 0.20, 0.03
COVERED_LEVELS = (0.5, 0.8, 0.9, 0.95)
LEAST_COVERED = 50
"""Rows of an engine that a share within three points can be told from."""


def predict(row: ServingRow) -> Serving:
    """Predict one row with the shipped factors, as somebody who plans: nobody tells harness or release."""
    tokens = row.input_tokens + row.output_tokens / 2
    room = most_running(row.launched, row.device, row.option, tokens=tokens, stages=row.stages)
    return StepClock(row.model, row.device, row.engine).serve(
        row.option,
        concurrency=row.concurrency,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        stages=row.stages,
        interfering=row.mode == "agg",
        most_running=min(room, untold_limit(row.device, row.engine)),
    )


def known(row: ServingRow) -> bool:
    """Tell whether model and engine stand together behind the shipped factors."""
    return is_known(setting_of(row.model, row.device, row.engine))


def evaluate(folder: Path) -> list[Figure]:
    """Errors of the shipped factors over a folder, known and unseen models apart, and coverage of intervals."""
    read = list(read_serving(folder))
    rows = fitted_rows(read)
    pairs = [(row, 1e3 * predict(row).tpot) for row in rows]
    error = [(row, value / row.tpot_ms - 1) for row, value in pairs]

    def of(test: Callable[[ServingRow], bool]) -> list[float]:
        return [value for row, value in error if test(row)]

    trusted = len(trusted_rows(folder))
    aggregated = f"{len(rows)} of {trusted} trusted rows; {len(read) - len(rows)} with a peak for a level, or no room"
    return [
        figure(
            "TPOT, known model and engine",
            of(known),
            target=KNOWN_TARGET,
            note=f"{aggregated}; held out only where the folder is unseen",
        ),
        figure(
            "TPOT, known model and engine, tail",
            of(known),
            target=KNOWN_P90_TARGET,
            statistic="p90",
            note=aggregated,
        ),
        figure(
            "TPOT, model or engine not in the fit",
            of(lambda row: not known(row)),
            target=UNSEEN_TARGET,
            note=aggregated,
        ),
        figure(
            "TPOT, decode pools of their own",
            of(lambda row: row.mode == "disagg"),
            note="of these rows; pools whose workers are not stated are left out",
        ),
        *coverage(pairs),
        _steps(folder),
    ]


def coverage(pairs: Sequence[tuple[ServingRow, float]]) -> Iterator[Figure]:
    """How far the share of rows inside each interval is from its level, overall and per engine."""
    engines = Counter(row.engine for row, _ in pairs)
    names = sorted(engine for engine, count in engines.items() if count >= LEAST_COVERED)
    for name in ("all engines", *names):
        chosen = [(row, value) for row, value in pairs if name in ("all engines", row.engine)]
        shares = [_inside(chosen, level) for level in COVERED_LEVELS] if chosen else []
        off = [share - level for share, level in zip(shares, COVERED_LEVELS, strict=False)]
        said = ", ".join(f"{share:.0%} at {level:.0%}" for share, level in zip(shares, COVERED_LEVELS, strict=False))
        yield figure(
            f"TPOT, coverage of intervals, {name}",
            off,
            target=COVERAGE_TARGET,
            statistic="worst",
            note=f"{len(chosen)} rows: {said}; fitted rows lie within more often",
        )


def _inside(pairs: Sequence[tuple[ServingRow, float]], level: float) -> float:
    found = 0
    for row, value in pairs:
        bounds = interval(value, level, engine=row.engine, device=device_key(row.device), known=known(row))
        found += bounds.low <= row.tpot_ms <= bounds.high
    return found / len(pairs)


def _steps(folder: Path) -> Figure:
    """Unqueued prefill iterations of gpt-oss-120b on B200 under TensorRT-LLM."""
    floor, (model, _) = floor_of("trtllm"), find_model("openai/gpt-oss-120b", "fp4", "trtllm")
    errors = []
    for row in read_rows(folder / "step_level.csv.gz"):
        if number(row["queued_prefill_tokens"]) == 0 and floor is not None and model is not None:
            tokens, cached, requests = (
                float(row[name]) for name in ("prefill_tokens", "prefill_kv_tokens", "prefill_requests")
            )
            nominal = nominal_ms(
                model, load_device("b200-sxm"), Option(1, 1, 1, 1), tokens=tokens, requests=requests, cached=cached
            )
            errors.append(iteration_ms(floor, nominal, requests=requests) / float(row["observed_ms"]) - 1)
    return figure("prefill iteration, unqueued", errors, target=STEP_TARGET)


def held_out(folder: Path) -> list[Figure]:
    """Refit with whole layouts, then whole models, held out in turn: what unseen rows will see."""
    fitted = fitted_rows(list(read_serving(folder)))
    rows = arrays(fitted)
    trusted = fit_serving.trusted(rows)
    ranks = np.array([row.option.moe_ep for row in fitted])[trusted]
    rows = rows.pick(trusted)
    layouts, models = np.array(rows.layouts), rows.keys(("arch",))
    parallel = np.expm1(fit_serving.held_out(rows, layouts))
    pairs = fit_serving.known_pairs(rows, layouts)
    unseen = np.expm1(fit_serving.held_out(rows, models))
    return [
        figure("TPOT, known model and engine, layout held out", list(parallel[pairs]), target=KNOWN_TARGET),
        figure("TPOT, model held out", list(unseen), target=UNSEEN_TARGET),
        _wide_ranks(rows, ranks),
    ]


def _wide_ranks(rows: Arrays, ranks: np.ndarray) -> Figure:
    """TPOT where experts lie on many ranks, all such rows held out of the fit."""
    wide = ranks >= WIDE_RANKS
    test, name = rows.pick(wide), f"TPOT, experts on {WIDE_RANKS} ranks or more, all of them held out"
    if not wide.any() or wide.all():
        return figure(name, [], target=WIDE_TARGET)
    errors = np.expm1(fit_serving.fit_rows(rows.pick(~wide)).predict(test) - test.target)
    return figure(name, list(errors), target=WIDE_TARGET)
