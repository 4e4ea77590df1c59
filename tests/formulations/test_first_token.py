"""First tokens of closed loops: nothing waits alone, no load shortens them, and one model answers every question."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from shardproof.formulations.costs.serving.factors import setting_of
from shardproof.formulations.costs.serving.first_token import (
    CLASSES,
    PARTS,
    TERMS,
    UNFITTED,
    fitted_factors,
    load_first_token,
    wait_of,
)
from shardproof.formulations.timeline import admission_wait
from shardproof.instances.catalogue import load_device, load_model
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Microbatches, Plan
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.evaluation.figures import ScenarioFigures
from shardproof.solver.evaluation.predictions import predict
from shardproof.solver.solve import solve
from tests.oracles.places import SHARED

ENGINES = ("any", "vllm", "sglang", "trtllm")


def question(**changes: Any) -> Instance:
    tree: dict[str, Any] = {
        "model": "llama-3.1-8b",
        "device": "h100-sxm",
        "engine": "vllm",
        "workload": {"kind": "closed-loop", "concurrency": 16, "input_tokens": 2048, "output_tokens": 256},
        "limits": {"max_gpus": 8},
    }
    workload = changes.pop("workload", {})
    tree["workload"] = workload if "kind" in workload else tree["workload"] | workload
    return resolve_tree(tree | changes, where="question")


def one_stage(tp: int = 1, dp: int = 1, layers: int = 32, tokens: int = 2048) -> Plan:
    stage = {"layers": [0, layers - 1], "gpus": tp * dp, "attn_tp": tp, "attn_dp": dp, "moe_tp": tp * dp, "moe_ep": 1}
    return Plan.model_validate({"replicas": 1, "microbatch_tokens": tokens, "stages": [stage]})


def figures(instance: Instance, plan: Plan) -> ScenarioFigures:
    return evaluate(instance, plan).scenarios[0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("efficiency", ["flat", "calibrated"])
def test_a_request_alone_waits_for_nothing(engine: str, efficiency: str) -> None:
    alone = question(engine=engine, efficiency=efficiency, workload={"concurrency": 1})
    burst = {"kind": "burst", "batch_size": 1, "input_tokens": 2048, "output_tokens": 256}
    assert (
        figures(alone, one_stage()).ttft
        == figures(question(engine=engine, efficiency=efficiency, workload=burst), one_stage()).ttft
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("efficiency", ["flat", "calibrated"])
def test_no_load_shortens_a_first_token(engine: str, efficiency: str) -> None:
    for name, values in (
        ("concurrency", (1, 2, 3, 4, 7, 16, 33, 64, 250, 1000)),
        ("input_tokens", (16, 128, 1000, 4096, 8192, 20000)),
    ):
        found = [
            figures(question(engine=engine, efficiency=efficiency, workload={name: value}), one_stage())
            for value in values
        ]
        assert [one.ttft for one in found] == sorted(one.ttft for one in found), name
        running = [one.tpot for one in found if one.running == one.requests]
        assert running == sorted(running), name


def test_what_finds_no_room_waits_for_a_residence() -> None:
    crowd = figures(question(workload={"concurrency": 400, "input_tokens": 8000}), one_stage())
    assert 1 <= crowd.running < 400
    residence = crowd.ttft_running + 255 * crowd.tpot
    assert crowd.ttft == pytest.approx(crowd.ttft_running + (400 - crowd.running) / crowd.running * residence, rel=1e-6)
    calm = figures(question(workload={"concurrency": crowd.running, "input_tokens": 8000}), one_stage())
    assert (calm.running, calm.tpot, calm.ttft) == (crowd.running, crowd.tpot, crowd.ttft_running)
    assert admission_wait(10, 1, flight=5, running=5, output_tokens=9) == 0


def test_one_stage_decodes_in_one_microbatch() -> None:
    runs = Microbatches(prefill_requests=1, decode_microbatches=8)
    plan = one_stage().model_copy(update={"microbatches": (runs,)})
    assert figures(question(), plan).tpot == figures(question(), one_stage()).tpot


def test_every_factor_is_known_by_its_term() -> None:
    catalogue = load_first_token()
    assert len(catalogue.base) == len(TERMS) == len(CLASSES)
    assert int(catalogue.fit["rows"]) > 0
    for engine in ("vllm", "sglang", "trtllm"):
        factors = fitted_factors(setting_of(load_model("deepseek-r1"), load_device("h200-sxm"), engine))
        assert set(factors) == set(TERMS)
        assert min(factors.values()) > 0
    assert set(UNFITTED) == set(TERMS)


def test_waits_vanish_alone_and_never_fall() -> None:
    factors = fitted_factors(setting_of(load_model("deepseek-r1"), load_device("h200-sxm"), "sglang"))
    found = [
        wait_of(factors, running=count, input_tokens=1024, chunk_tokens=8192) for count in (1.0, 1.5, 2.0, 8.0, 300.0)
    ]
    assert (found[0].prefill, found[0].iteration, found[0].host_ns) == (PARTS, 0, 0)
    for before, after in pairwise(found):
        assert after.prefill > before.prefill
        assert after.iteration > before.iteration
        assert after.host_ns > before.host_ns


@pytest.mark.parametrize(
    ("model", "device", "engine", "concurrency", "limits"),
    [
        ("llama-3.1-8b", "l40s", "any", 32, {"tpot": "60 ms", "ttft": "2 s"}),
        ("gpt-oss-120b", "h100-sxm", "vllm", 64, {}),
        ("qwen3-32b", "l40s", "vllm", 24, {"tpot": "60 ms"}),
        ("deepseek-r1", "h200-sxm", "sglang", 4, {"ttft": "1 s"}),
        ("llama-3.1-70b", "l40s", "trtllm", 16, {"ttft": "4 s"}),
        ("qwen3-8b", "l4", "sglang", 8, {"tpot": "50 ms"}),
    ],
)
def test_solve_states_what_predict_does(
    model: str, device: str, engine: str, concurrency: int, limits: dict[str, str]
) -> None:
    instance = question(
        model=model,
        device=device,
        engine=engine,
        workload={"concurrency": concurrency},
        limits=limits | {"max_gpus": 16},
    )
    result = solve(instance)
    assert result.status == "optimal"
    assert result.plan is not None
    assert result.metrics is not None
    found = predict(instance, result.plan)[0]
    assert (found.ttft_s, found.tpot_ms) == (result.metrics.ttft_s, result.metrics.tpot_ms)
    assert result.levels["ttft"].value == round(1e9 * found.ttft_s)
    for item in result.plan.microbatches:
        assert item.decode_microbatches <= len(result.plan.stages)


def test_published_first_tokens_reproduce() -> None:
    table = question(
        model="llama-3.1-70b-fp8",
        engine="trtllm",
        workload={"concurrency": 1, "input_tokens": 5000, "output_tokens": 500},
    )
    plan = one_stage(tp=2, layers=80, tokens=8192)
    assert figures(table, plan).ttft / 1e6 == pytest.approx(407, rel=0.1)
    crowd = table.model_copy(
        update={
            "scenarios": (
                table.scenarios[0].model_copy(
                    update={"workload": table.scenarios[0].workload.model_copy(update={"concurrency": 250})}
                ),
            )
        }
    )
    assert figures(crowd, plan).ttft / 1e9 == pytest.approx(88.6, rel=0.4)
    assert figures(crowd, plan).tpot / 1e6 == pytest.approx(93, rel=0.3)


def data_folder() -> Path | None:
    named = os.environ.get("SHARDPROOF_DATA")
    folder = Path(named) if named else SHARED / "fidelity"
    return folder if (folder / "system_level.csv.gz").exists() else None


@pytest.mark.slow(reason="every third measured deployment is predicted, in full runs every one")
@pytest.mark.skipif(data_folder() is None, reason="the measurements are not here")
def test_measured_first_tokens_are_met() -> None:
    from benchmarks.fidelity.first_token import evaluate_first_tokens, read_first_tokens

    folder = data_folder()
    assert folder is not None
    stride = 1 if os.environ.get("SHARDPROOF_FULL") else 3
    found = {one.name: one for one in evaluate_first_tokens(list(read_first_tokens(folder))[::stride])}
    middle = found["TTFT, closed loop"]
    assert middle.count > 1500 // stride
    assert middle.median is not None
    assert middle.median < 0.18


def test_throughput_follows_from_who_is_there_and_how_long() -> None:
    instance = question(workload={"concurrency": 24}, limits={"max_gpus": 4, "tpot": "30 ms"})
    result = solve(instance)
    assert result.metrics is not None
    metrics = result.metrics
    seconds = metrics.ttft_s + 255 * metrics.tpot_ms / 1e3
    assert metrics.requests_per_s * seconds == pytest.approx(24)
    assert metrics.output_tokens_per_s == pytest.approx(256 * metrics.requests_per_s)
    assert metrics.total_tokens_per_s == pytest.approx((256 + 2048) * metrics.requests_per_s)
    assert metrics.output_tokens_per_s_per_gpu * (result.gpus or 0) == pytest.approx(metrics.output_tokens_per_s)
    assert metrics.output_tokens_per_s_per_user == pytest.approx(1e3 / metrics.tpot_ms)
    assert result.plan is not None
    assert predict(instance, result.plan)[0].throughput == evaluate(instance, result.plan).throughput()


def test_what_waits_adds_no_throughput() -> None:
    crowd = evaluate(question(workload={"concurrency": 400, "input_tokens": 8000}), one_stage())
    running = crowd.scenarios[0].running
    calm = evaluate(question(workload={"concurrency": running, "input_tokens": 8000}), one_stage())
    assert crowd.throughput().requests_per_s == pytest.approx(calm.throughput().requests_per_s, rel=1e-3)


def test_a_first_token_has_its_own_doubt_and_a_higher_level_is_wider() -> None:
    plan = one_stage()
    found = [predict(question(), plan, level=level)[0].intervals for level in (0.5, 0.8, 0.89, 0.9, 0.95)]
    for name, value in (
        ("ttft_s", predict(question(), plan)[0].ttft_s),
        ("tpot_ms", predict(question(), plan)[0].tpot_ms),
    ):
        lows, highs = [one[name].low for one in found], [one[name].high for one in found]
        assert lows == sorted(lows, reverse=True)
        assert highs == sorted(highs)
        assert lows[0] <= value <= highs[0]
    assert found[0]["ttft_s"].count != found[0]["tpot_ms"].count


def test_solve_plans_against_what_predict_prints() -> None:
    limits = {"max_gpus": 8, "ttft": "400 ms", "tpot": "15 ms"}
    careful = question(limits=limits, confidence="90%")
    result = solve(careful)
    assert result.plan is not None
    found = predict(question(limits=limits), result.plan, level=0.9)[0]
    assert found.intervals["ttft_s"].high <= 0.4001
    assert found.intervals["tpot_ms"].high <= 15.01
    assert (result.gpus or 0) >= (solve(question(limits=limits)).gpus or 0)
    assert "no percentile" in " ".join(result.assumptions)


def test_more_confidence_never_needs_fewer_gpus() -> None:
    limits = {"max_gpus": 8, "ttft": "500 ms", "tpot": "20 ms"}
    fewest = [solve(question(limits=limits, confidence=level)).gpus or 99 for level in ("50%", "80%", "89%", "90%")]
    assert fewest == sorted(fewest)
