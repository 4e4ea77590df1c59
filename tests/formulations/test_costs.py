"""Costs against figures that a reader can recompute by hand."""

from __future__ import annotations

import pytest

from shardproof.formulations.costs.communication import layer_collectives
from shardproof.formulations.costs.compute import Step, layer_operations
from shardproof.formulations.costs.flat import FlatClock
from shardproof.formulations.costs.operations import Operation, Shape
from shardproof.formulations.costs.pairs import causal_pairs
from shardproof.formulations.costs.sharding import touched_experts_ppm
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.prefill import distinct_ceilings, replica_counts
from shardproof.formulations.timeline import last_ttft, mean_ttft, simulate_prefill, tpot
from shardproof.instances.catalogue import load_model
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.resolve import load_instance
from tests.oracles.places import CASES

ONE = Option(attn_tp=1, attn_dp=1, moe_tp=1, moe_ep=1)


@pytest.fixture(scope="module")
def main_case() -> Instance:
    return load_instance(CASES / "qwen3-235b-a22b.yaml")


@pytest.fixture(scope="module")
def deployment(main_case: Instance) -> Deployment:
    return Deployment(main_case)


def test_fixed_points_of_the_model(main_case: Instance) -> None:
    model = main_case.model
    assert model.parameters == 235_093_634_560
    assert round(model.active_parameters / 1e9, 2) == 22.19
    layer = next(iter(model.kinds.values()))
    experts = layer.feed_forward.experts * sum(m.parameters for m in layer.feed_forward.expert_matrices(model.hidden))
    assert round(experts / 1e9, 3) == 2.416
    assert round(sum(m.parameters for m in layer.attention.matrices(model.hidden)) / 1e6, 1) == 71.3


def test_fixed_points_of_the_workload(deployment: Deployment, main_case: Instance) -> None:
    step = Step("prefill", 128, 2048, 0)
    operations = [op for kind in main_case.model.layer_kinds for op in deployment.operations(kind, ONE, step)]
    scores = sum(op.flops for op in operations if op.name == "attention scores")
    linear = sum(op.flops for op in operations if op.name != "attention scores")
    assert f"{scores:.2e}" == "8.27e+14"
    assert f"{linear:.3e}" == "1.098e+16"
    assert round((scores + linear) / (400e12 * 0.6), 1) == 49.2


def test_weights_and_kv_exceed_four_gpus(deployment: Deployment, main_case: Instance) -> None:
    scenario, kinds = main_case.scenarios[0], main_case.model.layer_kinds
    kv = sum(deployment.layer_kv(kind, ONE, scenario, scenario.workload.requests) for kind in kinds)
    assert kv == 128 * 4096 * 96_256
    weights = sum(deployment.layer_weights(kind, ONE) for kind in kinds)
    ends = 2 * main_case.model.vocab * main_case.model.hidden + main_case.model.final_norm_parameters
    assert round((weights + ends + kv) / 1e9, 1) == 285.6
    assert weights + ends + kv > 4 * 64 * 10**9


def test_bf16_kv_doubles() -> None:
    deployment = Deployment(load_instance(CASES / "qwen3-235b-a22b-bf16-kv.yaml"))
    instance = deployment.instance
    kv = sum(
        deployment.layer_kv(kind, ONE, instance.scenarios[0], instance.scenarios[0].workload.requests)
        for kind in instance.model.layer_kinds
    )
    assert kv == 128 * 4096 * 192_512


def test_flat_clock_is_the_roofline(main_case: Instance) -> None:
    clock = FlatClock(main_case.device)
    assert (
        clock.picoseconds(Operation("x", "gemm", flops=240 * 10**12, dtype="fp8"))[1]
        == 10**12 + main_case.device.launch_latency * 1000
    )
    down, up = clock.picoseconds(Operation("x", "gemm", moved_bytes=1, dtype="fp8"))
    assert up == down + 1
    all_reduce = Operation("x", "all_reduce", message_bytes=160 * 10**9, link="scale_up", shape=Shape(ranks=4))
    assert clock.picoseconds(all_reduce)[1] == 15 * 10**11 + main_case.device.scale_up.latency * 1000


@pytest.mark.parametrize(("tokens", "window", "pairs"), [(4, None, 8), (4, 8, 8), (8, 4, 8 + 16), (1, None, 1)])
def test_causal_pairs(tokens: int, window: int | None, pairs: int) -> None:
    assert causal_pairs(tokens, window) == pairs


@pytest.mark.parametrize(("tokens", "expected"), [(0, 0), (1, 62_500), (10**6, 10**6)])
def test_touched_experts(tokens: int, expected: int) -> None:
    assert touched_experts_ppm(128, 8, tokens) == expected


def test_touched_experts_grow_with_tokens() -> None:
    shares = [touched_experts_ppm(256, 8, tokens) for tokens in range(200)]
    assert shares == sorted(shares)
    assert abs(shares[32] / 1e6 - (1 - (1 - 8 / 256) ** 32)) < 2e-6


def test_ceilings() -> None:
    assert distinct_ceilings(10) == (1, 2, 3, 4, 5, 10)
    for count in range(1, 60):
        values = distinct_ceilings(count)
        assert sorted({-(-count // q) for q in values}) == sorted({-(-count // q) for q in range(1, count + 1)})
    assert replica_counts((4, 6), 8) == (1, 2, 3, 4, 6)


@pytest.mark.parametrize(("times", "count"), [([3, 5, 2], 1), ([3, 5, 2], 7), ([1], 4), ([2, 2, 9, 1, 4], 12)])
def test_simulation_equals_formula(times: list[int], count: int) -> None:
    leaves = simulate_prefill(times, count)
    assert leaves[-1] == last_ttft(times, count)
    assert sum(leaves) == mean_ttft(times, count) * count
    assert tpot(times, count) == max(sum(times), count * max(times))


@pytest.mark.parametrize("inside", ["1 GB/s", "900 GB/s"])
def test_a_hand_over_to_another_node_takes_no_less_than_within_one(inside: str) -> None:
    links = {"scale_up": {"bandwidth": inside}, "scale_out": {"bandwidth": "25 GB/s"}}
    device = load_instance(CASES / "qwen3-235b-a22b.yaml", {"hardware": links}).device
    clock = FlatClock(device)

    def time(link: str) -> tuple[int, int]:
        sent = Operation("point-to-point", "p2p", message_bytes=10**8, link=link, shape=Shape(ranks=2))  # type: ignore[arg-type]
        return clock.picoseconds(sent)

    assert time("scale_out") >= time("scale_up")
    assert (time("scale_out") == time("scale_up")) == (inside == "1 GB/s")


@pytest.mark.parametrize(
    ("phase", "attn_dp", "moe_ep", "sent"),
    [("decode", 16, 16, True), ("decode", 8, 8, False), ("decode", 1, 16, False), ("prefill", 16, 16, False)],
)
def test_tokens_are_sent_to_their_experts_where_few_ranks_need_each(
    phase: str, attn_dp: int, moe_ep: int, *, sent: bool
) -> None:
    model = load_model("deepseek-r1")
    layer = next(layer for layer in model.kinds.values() if layer.feed_forward.kind == "moe")
    option = Option(attn_tp=moe_ep // attn_dp, attn_dp=attn_dp, moe_tp=1, moe_ep=moe_ep)
    step = Step(phase, moe_ep, 1, 1024)
    done = [item for item in layer_operations(model, layer, option, step, "bf16") if item.kind == "grouped_gemm"]
    done += [
        item
        for item in layer_collectives(model, layer, option, step, dtype="bf16", devices_per_node=8)
        if item.kind == "all_to_all"
    ]
    assert [item.shape.dispatched for item in done] == [sent] * 3
