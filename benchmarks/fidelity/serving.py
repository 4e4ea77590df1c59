"""Serving: TPOT, TTFT and prefill iterations, as shipped and with whole groups held out of the fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fidelity.figure import Figure, figure
from benchmarks.fidelity.memory import number, read_rows
from benchmarks.fidelity.rows import ServingRow, find_model, read_serving, trusted_rows
from shardproof.formulations.costs.serving.closed_loop import Serving, StepClock
from shardproof.formulations.costs.serving.factors import is_known, setting_of
from shardproof.formulations.costs.serving.prefill import floor_of, iteration_ms, nominal_ms
from shardproof.instances.catalogue import load_device
from shardproof.instances.option import Option

KNOWN_TARGET, UNSEEN_TARGET, STEP_TARGET = 0.06, 0.10, 0.08
KNOWN_P90_TARGET = 0.20


def predict(row: ServingRow) -> Serving:
    """Predict one row with the shipped factors."""
    return StepClock(row.model, row.device, row.engine, row.harness, row.release).serve(
        row.option,
        concurrency=row.concurrency,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        stages=row.stages,
        interfering=row.mode == "agg",
    )


def known(row: ServingRow) -> bool:
    """Tell whether model and engine stand together behind the shipped factors."""
    return is_known(setting_of(row.model, row.device, row.engine))


def evaluate(folder: Path) -> list[Figure]:
    """Errors of the shipped factors over a folder, known and unseen models apart."""
    rows = list(read_serving(folder))
    error = [(row, 1e3 * predict(row).tpot / row.tpot_ms - 1) for row in rows]

    def of(test: Callable[[ServingRow], bool]) -> list[float]:
        return [value for row, value in error if test(row)]

    trusted = len(trusted_rows(folder))
    aggregated = f"{len(rows)} of {trusted} trusted rows: closed loop, static batch and decode pools"
    return [
        figure(
            "TPOT, known model and engine",
            of(known),
            target=KNOWN_TARGET,
            note=f"{aggregated}; p90 target {KNOWN_P90_TARGET:g}; held out only where the folder is unseen",
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
        _steps(folder),
    ]


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
    from benchmarks.fidelity import fit_serving
    from benchmarks.fidelity.serving_arrays import arrays

    rows = arrays(list(read_serving(folder)))
    layouts, models = np.array(rows.layouts), rows.keys(("arch",))
    parallel = np.expm1(fit_serving.held_out(rows, layouts))
    pairs = fit_serving.known_pairs(rows, layouts)
    unseen = np.expm1(fit_serving.held_out(rows, models))
    return [
        figure("TPOT, known model and engine, layout held out", list(parallel[pairs]), target=KNOWN_TARGET),
        figure("TPOT, model held out", list(unseen), target=UNSEEN_TARGET),
    ]
