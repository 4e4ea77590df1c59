"""Fit the floor of prefill iterations: ``python -m benchmarks.fidelity.fit_prefill --data DIR``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from benchmarks.fidelity.memory import number, read_rows
from benchmarks.fidelity.rows import find_model
from shardproof.formulations.costs.serving.factors import FILE, Floor
from shardproof.formulations.costs.serving.prefill import iteration_ms, nominal_ms
from shardproof.instances.catalogue import load_device
from shardproof.instances.option import Option

START = (33.0, 3.0, 2.0, 2.0, 3.0, 5.0)
LOGS_WITHIN = (-3.0, 3.6)
ENGINE = "trtllm"


def read_steps(folder: Path) -> np.ndarray:
    """Unqueued iterations of gpt-oss-120b on B200: measured ms, nominal ms (linear, attention), requests."""
    model, _ = find_model("openai/gpt-oss-120b", "fp4", ENGINE)
    assert model is not None
    device, option = load_device("b200-sxm"), Option(1, 1, 1, 1)
    found = []
    for row in read_rows(folder / "step_level.csv.gz"):
        if number(row["queued_prefill_tokens"]) != 0:
            continue
        tokens, cached, requests, measured = (
            float(row[name]) for name in ("prefill_tokens", "prefill_kv_tokens", "prefill_requests", "observed_ms")
        )
        nominal = nominal_ms(model, device, option, tokens=tokens, requests=requests, cached=cached)
        found.append((measured, *nominal, requests))
    return np.array(found)


def fit_floor(steps: np.ndarray) -> Floor:
    """Least absolute relative error; several starts, since the simplex may stall."""

    def loss(logs: np.ndarray) -> float:
        return float(np.mean(np.abs(np.log(predict(_floor(logs), steps) / steps[:, 0]))))

    starts = [np.log(START) + shift for shift in (0.0, 0.2, -0.2)]
    found = [minimize(loss, start, method="Nelder-Mead", options={"maxiter": 6000, "maxfev": 6000}) for start in starts]
    return _floor(min(found, key=lambda one: float(one.fun)).x)


def _floor(logs: np.ndarray) -> Floor:
    floor, power, factor, attention, request, fixed = (
        round(float(value), 4) for value in np.exp(np.clip(logs, *LOGS_WITHIN))
    )
    return Floor(
        floor_ms=floor,
        power=power,
        work_factor=factor,
        attention_factor=attention,
        request_ms=request,
        fixed_ms=fixed,
        source="gpt-oss-120b on B200, TensorRT-LLM, unqueued prefill iterations",
        fit_error="",
    )


def predict(floor: Floor, steps: np.ndarray) -> np.ndarray:
    """Predict every step, ms."""
    return np.array([iteration_ms(floor, (linear, attention), requests=one) for _, linear, attention, one in steps])


def held_out(steps: np.ndarray, count: int = 5) -> np.ndarray:
    """Log residuals with every fifth of the iterations held out in turn."""
    fold = np.random.default_rng(0).integers(0, count, len(steps))
    residual = np.zeros(len(steps))
    for one in range(count):
        inside = fold == one
        found = fit_floor(steps[~inside])
        residual[inside] = np.log(predict(found, steps[inside]) / steps[inside, 0])
    return residual


def main() -> None:
    """Fit on a folder and write the catalogue file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    steps = read_steps(parser.parse_args().data)
    error = np.abs(np.expm1(held_out(steps)))
    found = fit_floor(steps).model_copy(
        update={"fit_error": f"held out: median {np.median(error):.3f}, p90 {np.quantile(error, 0.9):.3f}"}
    )
    tree = json.loads(FILE.read_text())
    tree["prefill_floor"] = {ENGINE: found.model_dump()}
    FILE.write_text(json.dumps(tree) + "\n")


if __name__ == "__main__":
    main()
