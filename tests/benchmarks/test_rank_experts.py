"""Experts on many ranks as `predict` states them: each rank computes what comes to it, and held-out counts are met."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.fidelity.fit_operators import replaced
from benchmarks.fidelity.rank_experts import FAMILY, FILE, MODEL, errors_of, experts_ns
from shardproof.formulations.costs import clocks
from shardproof.instances import calibration
from shardproof.instances.catalogue import load_device, load_model
from shardproof.solver.calibration.figures import figures_by_device
from shardproof.solver.calibration.fit import Fitted, fit_rows, place_centres
from shardproof.solver.calibration.measurements import read_measurements
from tests.oracles.places import SHARED

RANKS = (16, 32, 64, 128, 256)


@pytest.mark.parametrize(
    ("device", "engine"), [("h200-sxm", "vllm"), ("b200-sxm", "trtllm"), ("gb200-nvl72", "sglang")]
)
def test_a_rank_reads_its_own_experts_and_no_more(device: str, engine: str) -> None:
    """8,192 tokens touch every expert: a rank's weights from memory are the floor, and little stands beside them."""
    model, bandwidth = load_model(MODEL), float(load_device(device).memory_bandwidth)
    layers = sum("moe" in str(model.kinds[kind].feed_forward.kind) for kind in model.layer_kinds)
    times = [experts_ns(model, device, engine, ranks=ranks, tokens=8192) / layers for ranks in RANKS]
    for ranks, time in zip(RANKS, times, strict=True):
        reading = 1e9 * 256 / ranks * 3 * 7168 * 2048 / bandwidth
        assert reading <= time < 2 * reading + 60_000
    assert times == sorted(times, reverse=True)


@pytest.fixture
def without_ranks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Curves of an H200 that never saw a count of ranks, wherever a plan is timed."""
    rows = read_measurements(SHARED / "fidelity" / FILE)[FAMILY].of_device("h200-sxm")
    kept = rows.take(np.flatnonzero(rows.sizes.ep != request.param))
    centres = place_centres(kept)
    fitted = Fitted(FAMILY, centres, fit_rows(kept, figures_by_device(kept.devices), centres))
    shipped = calibration.load_calibration("h200-sxm")
    monkeypatch.setattr(calibration, "load_calibration", lambda _name: replaced(shipped, fitted))
    clocks._calibrated.cache_clear()
    yield request.param
    clocks._calibrated.cache_clear()


@pytest.mark.skipif(not SHARED.exists(), reason="needs the recorded measurements")
@pytest.mark.slow  # reads 88,000 rows and fits a family
@pytest.mark.parametrize("without_ranks", [32, 128], indirect=True)
def test_a_count_of_ranks_that_was_never_fitted_is_met_by_predict(without_ranks: int) -> None:
    rows = read_measurements(SHARED / "fidelity" / FILE)[FAMILY].of_device("h200-sxm")
    errors = [abs(error) for ranks, error in errors_of(rows) if ranks == without_ranks]
    assert len(errors) >= 8
    assert sorted(errors)[len(errors) // 2] < 0.15
