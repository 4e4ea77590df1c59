"""Percentiles by formula lie near those that the simulator shows, rise with share and rate, and end with capacity."""

from __future__ import annotations

from math import inf, isfinite

import numpy as np
import pytest

from shardproof.instances.traffic.arrivals import generated
from shardproof.solver.open_loop.percentiles import ReplicaLoad, ReplicaPercentiles
from shardproof.solver.simulation.fleet import Seat, play_open
from shardproof.solver.simulation.replica import ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes

ROOMY = ReplicaLimits(sequences=256, batched_tokens=4096, cache_tokens=10**7)


def times() -> IterationTimes:
    return IterationTimes(
        lambda n, c: [8_000_000 + 60_000 * n + n * c * 8],
        lambda t, c: [2_000_000 + 30_000 * t + t * c // 10],
        stages=1,
        most_sequences=256,
        most_tokens=4096,
        longest=4096,
        shortest=500,
    )


def percentiles(rate: float, limits: ReplicaLimits = ROOMY) -> ReplicaPercentiles:
    load = ReplicaLoad(rate / 1e9, *(np.full(50, value) for value in (500.0, 0.0, 120.0)))
    return ReplicaPercentiles(times(), limits, load)


@pytest.mark.parametrize("rate", [2.0, 8.0, 16.0, 24.0])
def test_formulas_lie_near_the_simulator(rate: float) -> None:
    runs = [
        play_open(
            [Seat(times(), ROOMY)],
            generated(3000, rate=rate, cv=1.0, input_tokens=500, output_tokens=120, seed=seed),
            router="random",
            seed=seed,
            watched=False,
        )
        for seed in (1, 2)
    ]
    found = percentiles(rate)
    for share in (50, 90, 99):
        for figure in ("ttft", "tpot"):
            played = float(np.mean([run.quantile(figure, share) for run in runs]))
            formula = getattr(found, figure)(share / 100)
            assert 0.9 < formula / played < 1.7, (figure, share)


def test_percentiles_rise_with_share_and_rate() -> None:
    for figure in ("ttft", "tpot"):
        by_share = [getattr(percentiles(16.0), figure)(share) for share in (0.5, 0.9, 0.99)]
        by_rate = [getattr(percentiles(rate), figure)(0.99) for rate in (1.0, 8.0, 16.0, 24.0)]
        assert by_share == sorted(by_share)
        assert by_rate == sorted(by_rate)


def test_what_is_not_kept_up_with_has_no_percentiles() -> None:
    busy = percentiles(80.0)
    assert busy.tpot(0.5) == busy.ttft(0.5) == inf
    full = percentiles(16.0, ReplicaLimits(sequences=4, batched_tokens=4096, cache_tokens=10**7))
    assert full.ttft(0.5) == inf
    tight = percentiles(4.0, ReplicaLimits(sequences=8, batched_tokens=4096, cache_tokens=10**7))
    assert isfinite(tight.ttft(0.99))
    assert tight.ttft(0.99) > percentiles(4.0).ttft(0.99)
