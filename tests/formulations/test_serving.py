"""Serving factors and the closed loop: monotone, consistent, and near measured deployments."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from shardproof.formulations.costs.serving.architecture import architecture_of, device_key
from shardproof.formulations.costs.serving.closed_loop import StepClock
from shardproof.formulations.costs.serving.factors import (
    FILE,
    device_family,
    factors_for,
    is_known,
    load_factors,
    precision_name,
    setting_of,
)
from shardproof.formulations.costs.serving.prefill import floor_of, iteration_ms, nominal_ms
from shardproof.formulations.costs.serving.work import PLACE, TERMS, Load, iteration_terms
from shardproof.instances.catalogue import load_device, load_model, model_names
from shardproof.instances.option import Option
from tests.oracles.places import SHARED

ONE = Option(1, 1, 1, 1)
EIGHT = Option(8, 1, 8, 1)


def clock(model: str = "llama-3.1-70b-fp8", device: str = "h200-sxm", engine: str = "vllm") -> StepClock:
    return StepClock(load_model(model), load_device(device), engine)


def test_terms_count_what_the_datasheet_says() -> None:
    model, device = load_model("llama-3.1-70b"), load_device("h200-sxm")
    terms = iteration_terms(model, device, ONE, Load(1.0, 1.0, 1000.0))
    read = 2 * (model.parameters - model.vocab * model.hidden)
    assert terms[PLACE["weights"]] == pytest.approx(read / float(device.memory_bandwidth), rel=1e-3)
    kv_bytes = 80 * 2 * 8 * 128 * 2 * 1000
    assert terms[PLACE["kv"]] == pytest.approx(kv_bytes / float(device.memory_bandwidth), rel=1e-9)
    assert terms[PLACE["collectives"]] == 0.0


def test_experts_read_grow_to_all_of_them() -> None:
    model, device = load_model("qwen3-235b-a22b"), load_device("h200-sxm")
    one, many = (
        iteration_terms(model, device, EIGHT, Load(count, count, 1.0))[PLACE["experts"]] for count in (1.0, 1e4)
    )
    assert one / many == pytest.approx(8 / 128, rel=1e-6)


def test_every_factor_is_positive_and_names_a_term() -> None:
    catalogue = load_factors()
    assert set(catalogue.decode) | set(catalogue.prefill) <= set(TERMS)
    assert len(catalogue.classes) == len(catalogue.decode) + len(catalogue.prefill)
    for engine in ("vllm", "sglang", "trtllm"):
        found = factors_for(setting_of(load_model("deepseek-r1"), load_device("h200-sxm"), engine))
        assert min(*found.decode.values(), *found.prefill.values()) > 0


def test_the_catalogue_cites_its_source_and_ships_no_rows() -> None:
    catalogue = load_factors()
    assert catalogue.source
    assert int(catalogue.fit["rows"]) > 0
    numbers = sum(
        len(value) for fit in (catalogue.known, catalogue.general) for g in fit.groups for value in g.values.values()
    )
    assert numbers < 6000
    assert FILE.stat().st_size < 200_000


@pytest.mark.parametrize("model", ["llama-3.1-70b-fp8", "deepseek-r1", "gpt-oss-120b", "qwen3.5-397b-a17b"])
def test_decode_slows_with_load_and_context(model: str) -> None:
    found = clock(model)
    times = [found.decode(EIGHT, sequences=count, context=1500.0) for count in (1.0, 2.0, 8.0, 64.0, 256.0)]
    assert times == sorted(times)
    assert found.decode(EIGHT, sequences=8.0, context=9000.0) > found.decode(EIGHT, sequences=8.0, context=1000.0)
    assert found.interference(EIGHT, tokens=8192.0) > found.interference(EIGHT, tokens=1024.0)


def test_an_iteration_is_the_sum_of_its_layers_and_ends() -> None:
    found = clock("deepseek-r1")
    layers = sum(
        count * found.decode_layer(kind, EIGHT, sequences=4.0, context=2000.0)
        for kind, count in found.kind_counts.items()
    )
    whole = layers + found.decode_ends(EIGHT, sequences=4.0, context=2000.0)
    assert found.decode(EIGHT, sequences=4.0, context=2000.0) == pytest.approx(whole)
    parts = found.operations(EIGHT, sequences=4.0, context=2000.0)
    assert sum(parts.values()) == pytest.approx(whole)


def test_the_closed_loop_adds_the_prefill_of_others() -> None:
    found = clock()
    alone = found.serve(EIGHT, concurrency=64, input_tokens=8192, output_tokens=1024, interfering=False)
    among = found.serve(EIGHT, concurrency=64, input_tokens=8192, output_tokens=1024)
    assert among.tpot == pytest.approx(alone.tpot + 64 / 1024 * found.interference(EIGHT, tokens=8192))
    assert sum(among.operations.values()) == pytest.approx(among.tpot)


def test_more_replicas_and_ranks_share_the_requests() -> None:
    found = clock()
    one, four = (
        found.serve(EIGHT, concurrency=64, input_tokens=1024, output_tokens=1024, replicas=count).tpot
        for count in (1, 4)
    )
    assert four < one
    assert found.serve(EIGHT, concurrency=64, input_tokens=1024, output_tokens=1024, replicas=4).sequences == 16


@pytest.mark.parametrize(
    ("model", "device", "engine", "tp", "concurrency", "tpot_ms"),
    [
        ("llama-3.1-70b-fp8", "b200-sxm", "vllm", 2, 8, 10.8),
        ("llama-3.1-70b-fp8", "b200-sxm", "trtllm", 4, 64, 10.5),
        ("llama-3.1-70b-fp8", "h200-sxm", "vllm", 8, 4, 7.9),
    ],
)
def test_published_deployments_reproduce(
    model: str, device: str, engine: str, tp: int, concurrency: int, tpot_ms: float
) -> None:
    found = StepClock(load_model(model), load_device(device), engine, release="2025-10")
    option = Option(tp, 1, tp, 1)
    served = found.serve(option, concurrency=concurrency, input_tokens=1024, output_tokens=8192)
    assert 1e3 * served.tpot == pytest.approx(tpot_ms, rel=0.2)


def test_a_model_never_measured_uses_the_general_factors() -> None:
    setting = setting_of(load_model("qwen2.5-72b"), load_device("mi300x"), "vllm")
    assert not is_known(setting)
    assert "model+engine" in factors_for(setting).unknown
    assert (
        StepClock(load_model("qwen2.5-72b"), load_device("mi300x"), "vllm").decode(EIGHT, sequences=1.0, context=1000.0)
        > 0
    )


def test_factors_know_what_a_model_is_and_not_its_name() -> None:
    def same(first: str, second: str) -> bool:
        return architecture_of(load_model(first)) == architecture_of(load_model(second))

    assert same("deepseek-r1", "deepseek-v3")
    assert same("qwen3-32b-fp8", "qwen3-32b")
    assert same("glm-4.5", "glm-4.6")
    assert same("glm-5", "glm-5-fp8")
    assert not same("deepseek-v3.2", "deepseek-v3")
    assert not same("qwen3-32b", "qwen3-14b")
    assert device_family(load_device("b300-sxm")) == "Blackwell"
    assert device_family(load_device("mi300x")) == "other"
    assert precision_name(load_model("gpt-oss-120b")) == "mxfp4"
    assert precision_name(load_model("llama-3.1-8b")) == "bf16"


@pytest.mark.parametrize("engine", ["any", "vllm", "sglang", "trtllm", "some-engine"])
def test_another_name_takes_the_same_time(engine: str) -> None:
    device = load_device("h200-sxm")
    for name in ("deepseek-r1", "qwen3-32b", "qwen2.5-72b", "nemotron-3-nano-30b-a3b"):
        model = load_model(name)
        renamed = model.model_copy(update={"name": "x", "family": "y"})
        ours, theirs = (
            StepClock(one, device, engine).serve(EIGHT, concurrency=32, input_tokens=2000, output_tokens=500)
            for one in (model, renamed)
        )
        assert ours == theirs


def test_architectures_and_devices_of_the_catalogue_are_told_apart() -> None:
    signed = {name: architecture_of(load_model(name)) for name in model_names()}
    assert not any("|" in text for text in signed.values())
    sizes: dict[str, set[int]] = {}
    for name, text in signed.items():
        model = load_model(name)
        ends = model.vocab * model.hidden * (1 if model.tied else 2) + model.extra_parameters
        sizes.setdefault(text, set()).add(round((model.parameters - ends) / 1e9))
    assert all(max(found) - min(found) <= 1 for found in sizes.values())
    assert device_key(load_device("h100-sxm")) != device_key(load_device("h200-sxm"))
    assert device_key(load_device("h100-sxm")) == device_key(load_device("h800-sxm"))


def test_what_nobody_can_state_is_taken_as_usual() -> None:
    model, device = load_model("deepseek-r1"), load_device("h200-sxm")
    asked = factors_for(setting_of(model, device, "sglang"))
    assert not any("release" in text or "harness" in text for text in asked.unknown)
    told = factors_for(setting_of(model, device, "sglang", harness="inferencex_db", release="2025-12"))
    assert asked.decode != told.decode
    assert set(asked.decode) == set(told.decode)


def test_prefill_iterations_have_a_floor() -> None:
    floor = floor_of("trtllm")
    assert floor is not None
    model, device = load_model("gpt-oss-120b"), load_device("b200-sxm")
    times = [
        iteration_ms(floor, nominal_ms(model, device, ONE, tokens=count, requests=1.0, cached=0.0), requests=1.0)
        for count in (1.0, 100.0, 1000.0, 4000.0, 16000.0)
    ]
    assert times == sorted(times)
    assert times[0] == pytest.approx(floor.floor_ms, rel=0.1)
    assert times[-1] > 2 * floor.floor_ms
    assert floor_of("sglang") is None


def data_folder() -> Path | None:
    named = os.environ.get("SHARDPROOF_DATA")
    folder = Path(named) if named else SHARED / "fidelity"
    return folder if (folder / "system_level.csv.gz").exists() else None


@pytest.mark.skipif(data_folder() is None, reason="the measurements are not here")
def test_every_serving_row_is_read_as_a_layout_that_adds_up() -> None:
    from benchmarks.fidelity.rows import read_serving

    folder = data_folder()
    assert folder is not None
    rows = list(read_serving(folder))
    assert len(rows) > 1000
    for row in rows:
        assert row.option.moe_tp * row.option.moe_ep == row.option.gpus
        assert row.tpot_ms > 0


def test_the_factors_are_plain_numbers() -> None:
    tree = json.loads(FILE.read_text())
    assert set(tree) >= {"decode", "prefill", "classes", "known", "general", "source", "fit"}
