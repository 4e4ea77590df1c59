"""The cheapest fleet by vllm-sr-sim, run by the Python that has it: a question on standard input, its answer on output.

Imports nothing of shardproof. Every tensor-parallel degree and every threshold between a pool of short and a pool of
long requests is tried; answers that fail its own simulation are left out.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

DEGREES = (1, 2, 4, 8)


def named(module: Any, name: str) -> Any:
    """Return the record of a catalogue module that bears this name."""
    return next(value for value in vars(module).values() if getattr(value, "name", None) == name)


def fleets(question: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a fleet for each degree and threshold: GPUs, replicas of both pools, 99th percentile, whether it holds."""
    from fleet_sim.gpu_profiles.builder import ProfileBuilder, ServingConfig
    from fleet_sim.hardware import catalog as hardware
    from fleet_sim.models import catalog as models
    from fleet_sim.optimizer.base import FleetOptimizer

    lengths = question["lengths"]
    found = []
    for degree in DEGREES:
        serving = ServingConfig(
            tp=degree, dtype_bytes=question["weight_bytes"], chunk=8192, mean_ctx_tokens=question["mean"]
        )
        model, device = named(models, question["model"]), named(hardware, question["device"])
        try:
            profile = ProfileBuilder().build(device, model, serving)
        except ValueError:
            continue
        for threshold, _ in lengths:
            optimizer = FleetOptimizer(profile, profile, threshold, question["ttft_ms"], long_max_ctx=lengths[-1][0])
            report = optimizer.optimize(cdf=lengths, lam=question["rate"], gammas=[1.0], verbose=False)
            for guess, played in zip(report.analytical, report.simulated, strict=False):
                found.append(
                    {
                        "gpus": degree * played.total_gpus,
                        "degree": degree,
                        "threshold": threshold,
                        "short": played.n_s,
                        "long": played.n_l,
                        "ttft_ms": max(played.p99_ttft_short_ms, played.p99_ttft_long_ms),
                        "by_formula": guess.slo_met,
                        "by_simulation": played.slo_met,
                    }
                )
    return found


def main() -> None:
    """Answer the question on standard input."""
    question = json.load(sys.stdin)
    started = time.process_time()
    found = fleets(question)
    held = [fleet for fleet in found if fleet["by_simulation"]]
    wrong = sum(fleet["by_formula"] and not fleet["by_simulation"] for fleet in found)
    best = min(held, key=lambda fleet: fleet["gpus"]) if held else None
    answer = {"best": best, "fleets": len(found), "formula_fails_simulation": wrong}
    json.dump({**answer, "seconds": time.process_time() - started}, sys.stdout)


if __name__ == "__main__":
    main()
