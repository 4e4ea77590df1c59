"""Timing curves as plans read them: monotone, whole numbers, deterministic, and with a provenance."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from shardproof.formulations.costs.curves.clock import CalibratedClock
from shardproof.formulations.costs.curves.families import FAMILIES
from shardproof.formulations.costs.curves.load import table_of
from shardproof.formulations.costs.flat import FlatClock
from shardproof.formulations.costs.operations import Operation, OperationKind, Shape
from shardproof.instances.calibration import calibration_for, load_calibration, measured_devices, relatives
from shardproof.instances.catalogue import device_names, load_device
from shardproof.solver.calibration.figures import figures_by_device
from shardproof.solver.calibration.fit import errors_without
from shardproof.solver.calibration.measurements import read_measurements
from tests.oracles.places import SHARED

GEMM = Operation(name="projection", kind="gemm", dtype="bf16", shape=Shape(m=256, n=4096, k=4096))
PREFILL = Operation(
    name="scores",
    kind="attention_prefill",
    shape=Shape(batch=2, query=1024, context=1024, heads=16, kv_heads=4, head_dim=128),
)
DECODE = Operation(
    name="scores",
    kind="attention_decode",
    shape=Shape(batch=16, query=1, context=4096, heads=16, kv_heads=4, head_dim=128),
)
EXPERTS = Operation(
    name="experts", kind="grouped_gemm", dtype="fp8", shape=Shape(m=512, n=1536, k=4096, experts=128, topk=8, ranks=4)
)
REDUCE = Operation(name="all-reduce", kind="all_reduce", message_bytes=2**20, link="scale_up", shape=Shape(ranks=4))
RANKED = replace(EXPERTS, shape=replace(EXPERTS.shape, ranks=32, dispatched=True))
DISPATCH = Operation(
    name="dispatch",
    kind="all_to_all",
    message_bytes=2**20,
    link="scale_up",
    shape=Shape(m=32, k=7168, experts=256, topk=4, ranks=8, dispatched=True),
)
LOADS = [
    (GEMM, "m"),
    (PREFILL, "batch"),
    (PREFILL, "query"),
    (DECODE, "batch"),
    (DECODE, "context"),
    (EXPERTS, "m"),
    (RANKED, "m"),
    (DISPATCH, "m"),
    (REDUCE, "message_bytes"),
]


def clock(device: str = "h100-sxm", engine: str = "vllm") -> CalibratedClock:
    found = load_device(device)
    return CalibratedClock(found, load_calibration(device), FlatClock(found), engine=engine)


def scaled(operation: Operation, size: str, value: int) -> Operation:
    if size == "message_bytes":
        return replace(operation, message_bytes=value)
    return replace(operation, shape=replace(operation.shape, **{size: value}))


@pytest.mark.parametrize(("operation", "size"), LOADS, ids=lambda value: str(getattr(value, "name", value)))
@pytest.mark.parametrize("device", ["h100-sxm", "b200-sxm", "l40s"])
def test_a_larger_load_never_takes_less_time(device: str, operation: Operation, size: str) -> None:
    generator = random.Random(3)
    values = sorted({generator.randrange(1, 2 ** generator.randrange(1, 20)) for _ in range(200)})
    timer = clock(device)
    times = [timer.picoseconds(scaled(operation, size, value)) for value in values]
    assert all(down == up and isinstance(down, int) and down > 0 for down, up in times)
    assert times == sorted(times)


def test_a_table_that_ends_early_says_the_same() -> None:
    calibration = load_calibration("h100-sxm")
    curve = next(curve for curve in calibration.curves if curve.key.family == "attn_decode")
    shape = {"heads": 16.0, "kv_heads": 4.0, "head_dim": 128.0, "window": 0.0}
    loads = (9.0, 3000.0)
    centres = calibration.centres["attn_decode"]
    early = table_of(curve, centres, calibration.figures, shape, reach=loads).microseconds(loads)
    assert early == pytest.approx(table_of(curve, centres, calibration.figures, shape).microseconds(loads), rel=1e-12)


def test_two_clocks_agree() -> None:
    first, second = clock(), clock()
    assert [first.picoseconds(o) for o, _ in LOADS] == [second.picoseconds(o) for o, _ in reversed(LOADS)][::-1]


def test_times_are_near_the_hardware() -> None:
    (time, _) = clock().picoseconds(scaled(GEMM, "m", 8192))
    ideal = 2 * 8192 * 4096 * 4096 / 989e12 * 1e12
    assert ideal < time < 3 * ideal


def test_what_no_curve_knows_goes_to_the_fallback() -> None:
    device = load_device("h100-sxm")
    odd = Operation(name="all-reduce", kind="all_reduce", message_bytes=2**20, link="scale_out", shape=Shape(ranks=64))
    timer = clock()
    known = timer.curve_of(odd)
    assert known is None or known.key.scope == "cross"
    nothing = replace(odd, link=None)
    assert timer.picoseconds(nothing) == FlatClock(device).picoseconds(nothing)


@pytest.mark.parametrize("name", sorted(relatives()))
def test_relatives_state_their_ratios(name: str) -> None:
    assert name in device_names()
    device = load_device(name)
    found = calibration_for(name, device, engine="vllm")
    assert found is not None
    lent, note = found
    assert "no operator measurements" in note
    ratio = device.memory_bandwidth / load_calibration(relatives()[name]).figures.memory_bandwidth
    assert f"memory bandwidth x{ratio:.2f}" in note
    timer = CalibratedClock(device, lent, FlatClock(device))
    assert timer.picoseconds(GEMM)[0] > 0


def test_a_measured_device_says_so() -> None:
    found = calibration_for("h100-sxm", load_device("h100-sxm"), engine="vllm")
    assert found is not None
    assert "fitted to measurements" in found[1]


def test_every_device_has_curves() -> None:
    for name in device_names():
        assert calibration_for(name, load_device(name), engine="vllm") is not None, name


@pytest.mark.parametrize("device", measured_devices())
def test_every_shipped_curve_is_whole(device: str) -> None:
    calibration = load_calibration(device)
    for curve in calibration.curves:
        centres = calibration.centres[curve.key.family]
        assert len(curve.weights) == len(centres.points)
        assert len(curve.low) == len(curve.high) == len(centres.scales)
        assert curve.key.family in FAMILIES


def test_every_kind_of_operation_has_a_curve_or_a_fallback() -> None:
    kinds: tuple[OperationKind, ...] = ("linear_attention", "elementwise", "all_gather", "all_to_all", "p2p")
    for kind in kinds:
        shape = Shape(m=64, n=4096, batch=4, query=16, heads=16, head_dim=128, ranks=4)
        operation = Operation(
            name=kind, kind=kind, flops=10**9, moved_bytes=10**6, message_bytes=10**6, link="scale_up", shape=shape
        )
        assert clock().picoseconds(operation)[0] > 0


def test_the_recorded_measurements_are_met() -> None:
    folder = SHARED / "fidelity"
    if not folder.exists() or not os.environ.get("SHARDPROOF_FULL"):
        pytest.skip("needs the measurements and SHARDPROOF_FULL=1")
    from benchmarks.fidelity.operators import errors_of
    from shardproof.solver.calibration.measurements import read_measurements

    rows = read_measurements(folder / "op_level.csv.gz")["nccl_all_gather"]
    errors = sorted(abs(error.relative) for error in errors_of(rows))
    assert errors[len(errors) // 2] < 0.04


def rank_time(device: str, ranks: int, tokens: float, skew: float = 0.0) -> float:
    """Microseconds of one rank's experts in expert-parallel decode, as the shipped curve has them."""
    calibration = load_calibration(device)
    curve = max((one for one in calibration.curves if one.key.family == "moe_ep_decode"), key=lambda one: one.rows)
    shape = {"hidden": 7168.0, "inter": 2048.0, "topk": 8.0, "experts": 256.0, "tp": 1.0, "ep": float(ranks)}
    sizes = shape | {"skew": skew, "balanced": 0.0}
    table = table_of(curve, calibration.centres["moe_ep_decode"], calibration.figures, sizes, reach=(tokens,))
    return table.microseconds((tokens,))


@pytest.mark.parametrize("device", ["h100-sxm", "h200-sxm", "b200-sxm", "gb300-nvl72"])
def test_expert_parallel_decode_follows_the_experts_that_a_rank_holds(device: str) -> None:
    """Where every expert is touched, a rank reads 256 / ranks of them: 2 to 256 ranks, measured counts or not."""
    bandwidth = float(load_device(device).memory_bandwidth)
    times = {ranks: rank_time(device, ranks, 512) for ranks in (2, 4, 8, 16, 32, 64, 128, 256)}
    for ranks, time in times.items():
        reading = 1e6 * 256 / ranks * 3 * 7168 * 2048 / bandwidth
        assert reading < time < 1.7 * reading + 40
    assert sorted(times.values(), reverse=True) == list(times.values())


def test_a_skewed_load_is_no_quicker_on_many_ranks() -> None:
    assert (
        rank_time("h200-sxm", 128, 8192, 1.2) > rank_time("h200-sxm", 128, 8192, 0.6) > rank_time("h200-sxm", 128, 8192)
    )


@pytest.mark.skipif(not SHARED.exists(), reason="needs the recorded measurements")
@pytest.mark.slow  # reads 88,000 rows
@pytest.mark.parametrize("ranks", [8, 32, 128])
def test_rank_counts_that_were_never_fitted_stay_within_the_target(ranks: int) -> None:
    rows = read_measurements(SHARED / "fidelity" / "op_level.csv.gz")["moe_ep_decode"].of_device("h200-sxm")
    errors = errors_without(rows, figures_by_device(rows.devices), "ep", ranks)
    assert len(errors)
    assert sorted(errors)[len(errors) // 2] < 0.15


@pytest.mark.parametrize("dtype", ["fp8", "bf16", "nvfp4", "int4"])
@pytest.mark.parametrize("device", ["h200-sxm", "b200-sxm", "gb300-nvl72"])
def test_experts_that_tokens_are_sent_to_are_timed_rank_by_rank(device: str, dtype: str) -> None:
    """Whatever the weights are stored in: more ranks never take longer, and the fused kernel is not asked."""
    timer = clock(device)
    asked = [replace(RANKED, dtype=dtype, shape=replace(RANKED.shape, ranks=ranks)) for ranks in (16, 32, 64, 128)]
    families = {timer.curve_of(operation).key.family for operation in asked}  # type: ignore[union-attr]
    assert families <= {"moe_ep_decode", "moe_wideep"}
    times = [timer.picoseconds(operation)[1] for operation in asked]
    assert times == sorted(times, reverse=True)


def test_a_device_without_rank_curves_times_the_fused_kernel() -> None:
    found = clock("a100-80-sxm").curve_of(replace(RANKED, dtype="bf16"))
    assert found is not None
    assert found.key.family == "moe"


def shipped_time(device: str, family: str, loads: tuple[float, ...], sizes: dict[str, float], **key: str) -> float:
    """Microseconds of a device's curve whose key is as told, the one of most rows."""
    calibration = load_calibration(device)
    named = [one for one in calibration.curves if one.key.family == family]
    curve = max((one for one in named if key.items() <= one.key.model_dump().items()), key=lambda one: one.rows)
    return table_of(curve, calibration.centres[family], calibration.figures, sizes, reach=loads).microseconds(loads)


@pytest.mark.parametrize("device", ["b200-sxm", "b300-sxm", "gb200-nvl72", "gb300-nvl72"])
def test_rows_that_a_block_scaled_kernel_pads_take_longer(device: str) -> None:
    """Scales are copied where rows are no multiple of four; with one block of inputs there is nothing to copy."""
    kernel = {"kernel": "DeepGemmFp8BlockScaledMMKernel"}

    def time(k: float, ragged: float) -> float:
        return shipped_time(device, "gemm", (64.0,), {"n": 4096.0, "k": k, "ragged": ragged}, **kernel)

    assert 1.15 * time(4096, 0) < time(4096, 1) < 2 * time(4096, 0)
    assert time(128, 0) == time(128, 1)


def test_plans_ask_for_rows_that_nothing_pads() -> None:
    """Engines pad batches to the sizes of their graphs, and a time may not fall from 63 rows to 64."""
    timer = clock("b200-sxm", "vllm")
    times = [timer.picoseconds(scaled(replace(GEMM, dtype="fp8"), "m", rows))[1] for rows in (61, 62, 63, 64, 65)]
    assert times == sorted(times)
    assert times[-1] < 1.1 * times[0]


@pytest.mark.parametrize("device", ["h100-sxm", "h200-sxm", "l40s"])
def test_heads_that_share_no_reading_of_the_cache_read_it_anew(device: str) -> None:
    """TensorRT-LLM's kernels share one reading between 32 query heads; of 96 to two KV heads each reads for itself."""

    def time(heads: float) -> float:
        sizes = {"heads": heads, "kv_heads": 2.0, "head_dim": 128.0, "window": 0.0}
        return shipped_time(device, "attn_decode", (8.0, 8192.0), sizes, engine="trtllm", kv_dtype="bfloat16")

    assert time(96) > 3 * time(64)


def test_exchanges_take_the_measured_kernels_of_their_reach() -> None:
    within = clock("h200-sxm").curve_of(DISPATCH)
    across = clock("h200-sxm").curve_of(replace(DISPATCH, link="scale_out"))
    usual = clock("h200-sxm").curve_of(replace(DISPATCH, shape=replace(DISPATCH.shape, dispatched=False)))
    assert within is not None
    assert across is not None
    assert usual is not None
    assert (within.key.family, within.key.scope) == ("deepep_ll_dispatch", "node")
    assert (across.key.family, across.key.scope) == ("deepep_ll_dispatch", "cross")
    assert usual.key.family == "nccl_alltoall"
