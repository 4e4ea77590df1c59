"""KV capacity on start-up logs that no profile was fitted to, and what a log says about itself."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.fidelity.memory import started, utilisation
from benchmarks.fidelity.start_logs import HeldOut, held_out

LOGS = tuple(held_out())


def test_the_median_and_the_tail_hold() -> None:
    """Half of the logs lie within 2 %, nineteen of twenty within 6 %."""
    errors = sorted(abs(log.capacity_error) for log in LOGS)
    assert len(errors) >= 24
    assert statistics.median(errors) <= 0.02
    assert errors[int(0.95 * (len(errors) - 1))] <= 0.06


@pytest.mark.parametrize("log", LOGS, ids=lambda log: f"{log.facts['model']} tp{log.facts.get('tp', 1)}")
def test_what_started_is_not_refused(log: HeldOut) -> None:
    """Even the one with 3 GiB of cache left."""
    assert log.predicted.refusal is None
    assert log.predicted.weights_bytes / 2**30 == pytest.approx(log.facts["weights"], rel=0.05)


def test_a_share_that_the_parts_contradict_is_read_off_the_parts() -> None:
    """A published table states 0.9 beside parts that add up to 0.95 of the device, and 0.9 beside parts of 0.9."""
    row = {"weights_gib_per_gpu": "64.38", "peak_activation_gib": "7.38", "non_torch_gib": "0.13"}
    row |= {"kv_avail_gib": "3.33", "gpu_total_gib": "79.18", "mem_util": "0.9"}
    assert float(utilisation(row)) == pytest.approx(0.95)
    assert float(utilisation(row | {"weights_gib_per_gpu": "60.42"})) == pytest.approx(0.9)
    assert float(utilisation(row | {"kv_avail_gib": ""})) == pytest.approx(0.9)


def test_a_log_without_a_cache_does_not_show_a_start() -> None:
    """The engine may have failed after it loaded its weights, as in vLLM issue 23278."""
    row = {"outcome": "ok", "kv_avail_gib": "", "kv_tokens": ""}
    assert not started(row)
    assert started(row | {"kv_tokens": "1000"})
    assert not started(row | {"outcome": "refused", "kv_tokens": "1000"})
