"""Hugging Face configs: how checkpoints are stored."""

from __future__ import annotations

import json

import pytest

from shardproof.formulations.costs.memory import layer_weight_bytes
from shardproof.instances import catalogue
from shardproof.instances.option import Option
from tests.oracles.published_configs import LLAMA, QWEN_MOE, read

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
INT4_GROUP = {"weights": {"type": "int", "num_bits": 4, "group_size": 32}, "targets": ["Linear"]}


@pytest.mark.parametrize(
    ("quantization", "attention", "experts"),
    [
        (FP8, ("fp8", (128, 128), 32), ("fp8", (128, 128), 32)),
        ({**FP8, "modules_to_not_convert": ["gate", "lm_head"]}, ("fp8", (128, 128), 32), ("fp8", (128, 128), 32)),
        ({**FP8, "modules_to_not_convert": ["self_attn"]}, ("bf16", None, 32), ("fp8", (128, 128), 32)),
        ({"quant_method": "mxfp4"}, ("bf16", None, 32), ("mxfp4", (1, 32), 8)),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, ("int4", (1, 128), 20), ("int4", (1, 128), 20)),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, ("int4", (1, 64), 20), ("int4", (1, 64), 20)),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": INT4_GROUP},
                "ignore": ["lm_head", "re:.*self_attn.*"],
            },
            ("bf16", None, 32),
            ("int4", (1, 32), 16),
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["model.layers.*.self_attn*"]},
            ("bf16", None, 32),
            ("nvfp4", (1, 16), 8),
        ),
        (
            {
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {
                    **{f"model.layers.{i}.self_attn": {"quant_algo": "FP8"} for i in range(48)},
                    **{f"model.layers.{i}.mlp.experts": {"quant_algo": "NVFP4"} for i in range(48)},
                },
            },
            ("fp8", None, 32),
            ("nvfp4", (1, 16), 8),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
            ("int4", (1, 64), 9),
            ("int4", (1, 64), 9),
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": ["self_attn"]},
            ("bf16", None, 32),
            ("int8", None, 32),
        ),
        (
            {
                "quant_method": "auto-round",
                "bits": 4,
                "group_size": 128,
                "sym": True,
                "packing_format": "auto_round:auto_gptq",
                "extra_config": {f"model.layers.{i}.self_attn": {"bits": 16} for i in range(48)},
            },
            ("bf16", None, 32),
            ("int4", (1, 128), 20),
        ),
        (
            {
                "quant_method": "quark",
                "global_quant_config": {"weight": {"dtype": "fp4", "qscheme": "per_group", "group_size": 32}},
                "exclude": ["lm_head", "*self_attn*"],
            },
            ("bf16", None, 32),
            ("mxfp4", (1, 32), 8),
        ),
        (
            {
                "quant_method": "quark",
                "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}},
                "layer_quant_config": {"*self_attn*": {"weight": {"dtype": "int8", "qscheme": "per_channel"}}},
            },
            ("int8", None, 32),
            ("fp8", None, 32),
        ),
        (
            {
                "quant_method": "torchao",
                "quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 64}}},
            },
            ("int4", (1, 64), 20),
            ("int4", (1, 64), 20),
        ),
        (
            {"quant_method": "torchao", "quant_type": "float8_weight_only", "modules_to_not_convert": ["self_attn"]},
            ("bf16", None, 32),
            ("fp8", None, 32),
        ),
    ],
)
def test_quantisation(quantization, attention, experts):
    formats = read({**QWEN_MOE, "quantization_config": quantization}).formats
    found = [(item.dtype, item.block, item.scale_bits) for item in (formats.attention, formats.experts)]
    assert found == [attention, experts]
    assert formats.head.dtype == formats.embedding.dtype == formats.router.dtype == "bf16"


def test_single_matrices_in_a_format_of_their_own():
    kept = ["self_attn.q_proj", "self_attn.k_proj"]
    model = read({**QWEN_MOE, "quantization_config": {**FP8, "modules_to_not_convert": kept}})
    assert model.formats.attention.dtype == "bf16"
    assert {name: stored.dtype for name, stored in model.formats.exceptions} == {
        "attention.value": "fp8",
        "attention.output": "fp8",
    }
    assert set(model.kinds) == {"full-moe"}
    plain = read({**QWEN_MOE, "quantization_config": {**FP8, "modules_to_not_convert": ["self_attn"]}})
    elements, blocks = 2048 * (4 + 32) * 128, 16 * (4 + 32)
    assert layer_bytes(plain, "full-moe") - layer_bytes(model, "full-moe") == elements - 4 * blocks


def test_layers_with_other_matrices_in_a_format_of_their_own():
    some = [f"model.layers.{index}.self_attn.q_proj" for index in range(20)]
    model = read({**QWEN_MOE, "quantization_config": {**FP8, "modules_to_not_convert": some}})
    assert model.layer_kinds == ("full-moe",) * 20 + ("full-moe#2",) * 28
    assert model.formats.attention.dtype == "fp8"
    first = model.stored_as(model.kinds["full-moe"]).formats
    assert first.of_matrix("attention", "query").dtype == "bf16"
    assert first.of_matrix("attention", "output").dtype == "fp8"
    assert model.stored_as(model.kinds["full-moe#2"]).formats.of_matrix("attention", "query").dtype == "fp8"


@pytest.mark.parametrize(
    "scheme", [{"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, {"kv_cache_quant_algo": "FP8"}]
)
def test_kv_cache_dtype(scheme):
    model = read({**LLAMA, "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", **scheme}})
    assert model.kv_dtype == "fp8"


def test_a_separate_quantisation_file_is_found(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    separate = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(separate))
    model = catalogue.load_model(str(tmp_path))
    assert (model.formats.dense_ffn.dtype, model.kv_dtype, model.name) == ("nvfp4", "fp8", tmp_path.name)


def test_layers_stored_in_their_own_format():
    kept = ["model.layers.0.mlp", "model.layers.31.mlp", *(f"model.layers.{i}.self_attn" for i in range(32))]
    quantization = {"quant_method": "fbgemm_fp8", "modules_to_not_convert": kept}
    model = read({**LLAMA, "quantization_config": quantization})
    assert model.formats.dense_ffn.dtype == "fp8"
    assert model.formats.attention.dtype == "bf16"
    assert model.layer_kinds == ("full-dense", *["full-dense#2"] * 30, "full-dense")
    assert model.stored_as(model.kinds["full-dense"]).formats.dense_ffn.dtype == "bf16"
    assert model.stored_as(model.kinds["full-dense#2"]) is model
    dense = 3 * 4096 * 14336
    assert layer_bytes(model, "full-dense") - layer_bytes(model, "full-dense#2") == dense
    uniform = model.with_formats(model.formats)
    assert layer_bytes(uniform, "full-dense") == layer_bytes(uniform, "full-dense#2")


def layer_bytes(model, kind):
    return layer_weight_bytes(model, model.kinds[kind], Option(attn_tp=1, attn_dp=1, moe_tp=1, moe_ep=1))
