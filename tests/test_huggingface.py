"""Hugging Face configs: published totals, quantisation, per-layer rules, refusals."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from formulations.costs.memory import kv_bytes_per_request, kv_bytes_read, layer_weight_bytes
from formulations.deployment.tables import Option
from instances import catalogue
from instances.errors import InputError
from instances.huggingface import families, from_config
from instances.huggingface.families import FAMILIES
from instances.huggingface.schemes import METHODS

SHARED = Path(os.environ.get("SHARDPROOF_DATA", Path(__file__).parents[2] / "shared"))
SAMPLES = sorted((SHARED / "huggingface").glob("*.json"))

DIMENSIONS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


def config(model_type, architecture, shape, intermediate, vocab, **more):
    return {
        "architectures": [architecture],
        "model_type": model_type,
        **dict(zip(DIMENSIONS, shape, strict=True)),
        "intermediate_size": intermediate,
        "vocab_size": vocab,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
        **more,
    }


def read(tree, **options):
    return from_config(tree, name="model", source="test", **options)


LLAMA = config("llama", "LlamaForCausalLM", (4096, 32, 32, 8), 14336, 128256)
QWEN_MOE = config(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    (2048, 48, 32, 4),
    6144,
    151936,
    head_dim=128,
    num_experts=128,
    num_experts_per_tok=8,
    moe_intermediate_size=768,
)
LATENT = config(
    "deepseek_v2",
    "DeepseekV2ForCausalLM",
    (5120, 60, 128, 128),
    12288,
    102400,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    n_routed_experts=160,
    n_shared_experts=2,
    num_experts_per_tok=6,
    moe_intermediate_size=1536,
    first_k_dense_replace=1,
    topk_method="group_limited_greedy",
)
QWEN_NEXT = config(
    "qwen3_next",
    "Qwen3NextForCausalLM",
    (2048, 48, 16, 2),
    5120,
    151936,
    head_dim=256,
    linear_num_key_heads=16,
    linear_num_value_heads=32,
    linear_key_head_dim=128,
    linear_value_head_dim=128,
    num_experts=512,
    num_experts_per_tok=10,
    moe_intermediate_size=512,
    shared_expert_intermediate_size=512,
)

# Totals as the checkpoints' indices and model cards give them.
PUBLISHED = {
    "Phi-3-mini": (3_821_079_552, config("phi3", "Phi3ForCausalLM", (3072, 32, 32, 32), 8192, 32064)),
    "Phi-4": (14_659_507_200, config("phi3", "Phi3ForCausalLM", (5120, 40, 40, 10), 17920, 100352)),
    "Phi-4-mini": (
        3_836_021_760,
        config("phi3", "Phi3ForCausalLM", (3072, 32, 24, 8), 8192, 200064, tie_word_embeddings=True),
    ),
    "OLMo-2-13B": (13_716_198_400, config("olmo2", "Olmo2ForCausalLM", (5120, 40, 40, 40), 13824, 100352)),
    "OLMoE-1B-7B": (
        6_919_161_856,
        config(
            "olmoe",
            "OlmoeForCausalLM",
            (2048, 16, 16, 16),
            1024,
            50304,
            num_experts=64,
            num_experts_per_tok=8,
        ),
    ),
    "Gemma-7B": (8_537_680_896, config("gemma", "GemmaForCausalLM", (3072, 28, 16, 16), 24576, 256000, head_dim=256)),
    "Gemma-3-1B": (
        999_885_952,
        config("gemma3_text", "Gemma3ForCausalLM", (1152, 26, 4, 1), 6912, 262144, head_dim=256),
    ),
    "SmolLM3-3B": (3_075_098_624, config("smollm3", "SmolLM3ForCausalLM", (2048, 36, 16, 4), 11008, 128256)),
    "Seed-OSS-36B": (
        36_151_104_512,
        config("seed_oss", "SeedOssForCausalLM", (5120, 64, 80, 8), 27648, 155136, head_dim=128),
    ),
    "GLM-4-9B": (
        9_400_279_040,
        config("glm4", "Glm4ForCausalLM", (4096, 40, 32, 2), 13696, 151552, attention_bias=True),
    ),
    "GLM-4-32B": (32_566_081_536, config("glm4", "Glm4ForCausalLM", (6144, 61, 48, 2), 23040, 151552, head_dim=128)),
    "Granite-3.3-8B": (
        8_170_864_640,
        config("granite", "GraniteForCausalLM", (4096, 40, 32, 8), 12800, 49159, tie_word_embeddings=True),
    ),
    "Mistral-7B": (7_241_732_096, config("mistral", "MistralForCausalLM", (4096, 32, 32, 8), 14336, 32000)),
    "Ministral-8B": (
        8_019_808_256,
        config("mistral", "MistralForCausalLM", (4096, 36, 32, 8), 12288, 131072, head_dim=128),
    ),
    "DeepSeek-V2": (235_741_434_880, LATENT),
    "Qwen2.5-0.5B": (
        494_032_768,
        config("qwen2", "Qwen2ForCausalLM", (896, 24, 14, 2), 4864, 151936, tie_word_embeddings=True),
    ),
    "Qwen2.5-32B": (32_763_876_352, config("qwen2", "Qwen2ForCausalLM", (5120, 64, 40, 8), 27648, 152064)),
    "Llama-3.2-1B": (
        1_235_814_400,
        config("llama", "LlamaForCausalLM", (2048, 16, 32, 8), 8192, 128256, tie_word_embeddings=True),
    ),
    "Qwen3-Next-80B-A3B": (79_674_391_296, QWEN_NEXT),
    "Command-R-plus": (
        103_810_674_688,
        config("cohere", "CohereForCausalLM", (12288, 64, 96, 8), 33792, 256000, use_qk_norm=True),
    ),
    "Command-A": (111_057_580_032, config("cohere2", "Cohere2ForCausalLM", (12288, 64, 96, 8), 36864, 256000)),
    "EXAONE-4.0-32B": (
        32_003_216_384,
        config("exaone4", "Exaone4ForCausalLM", (5120, 64, 40, 8), 27392, 102400),
    ),
    "ERNIE-4.5-21B-A3B": (
        21_825_437_888,
        config(
            "ernie4_5_moe",
            "Ernie4_5_MoeForCausalLM",
            (2560, 28, 20, 4),
            12288,
            103424,
            moe_num_experts=64,
            moe_k=6,
            moe_intermediate_size=1536,
            moe_num_shared_experts=2,
        ),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name):
    total, tree = PUBLISHED[name]
    assert read(tree).parameters == total


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_agree_with_the_catalogue(path):
    model = catalogue.load_model(str(path))
    name = path.stem.split("--")[1].removesuffix("_config").lower()
    for old, new in (("meta-llama", "llama"), ("-17b-128e-instruct", ""), ("-v0.1", "")):
        name = name.replace(old, new)
    listed = catalogue.load_model(name)
    for field in ("kinds", "runs", "formats", "kv_dtype", "hidden", "vocab", "tied", "max_position"):
        assert getattr(model, field) == getattr(listed, field), field


def test_every_family_has_a_reader_of_its_own_types():
    types = [kind for family in FAMILIES for kind in family.model_types]
    assert len(types) == len(set(types))
    assert all(family.architectures for family in FAMILIES)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model_type": "foo"}, "foo"),
        ({"architectures": ["FooForCausalLM"]}, "FooForCausalLM"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"architectures": ["LlamaForCausalLMEagle3"]}, "LlamaForCausalLMEagle3"),
        ({"model_type": "deepseek_v4"}, "deepseek_v4"),
    ],
)
def test_an_architecture_that_is_not_understood_is_refused_by_name(changes, name):
    with pytest.raises(InputError, match=f"'{name}' is not understood") as refusal:
        read({**LLAMA, **changes}, origin="folder/config.json")
    assert "folder/config.json" in str(refusal.value)
    assert "; understood" in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
        ({"num_attention_heads": "32"}, "num_attention_heads"),
        ({"num_key_value_heads": 7}, "num_key_value_heads"),
        ({"num_attention_heads": 31, "num_key_value_heads": 31}, "head_dim"),
        ({"vocab_size": True}, "vocab_size"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"torch_dtype": "float8"}, "torch_dtype"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": ["mystery"] * 32}, "mystery"),
        ({"quantization_config": {"quant_method": "aqlm"}}, "aqlm"),
        ({"quantization_config": {"bits": 4}}, "quant_method"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "3-bit"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NEW"}}, "NEW"),
        ({"quantization_config": {"quant_method": "fp8", "ignore": ["re:("]}}, "regular expression"),
        ({"quantization_config": []}, "quantization_config"),
    ],
)
def test_wrong_fields_are_named(changes, field):
    with pytest.raises(InputError, match=field):
        read({**LLAMA, **changes})


def test_unknown_quantisation_lists_what_is_understood():
    with pytest.raises(InputError) as refusal:
        read({**LLAMA, "quantization_config": {"quant_method": "hqq"}})
    assert all(method in str(refusal.value) for method in METHODS)


def test_nested_text_config_and_wrapper_fields():
    inner = {key: value for key, value in QWEN_MOE.items() if key not in ("architectures", "torch_dtype")}
    outer = {
        "architectures": ["Qwen3VLMoeForConditionalGeneration"],
        "model_type": "qwen3_vl_moe",
        "text_config": {**inner, "model_type": "qwen3_vl_moe_text"},
        "vision_config": {"depth": 27},
        "torch_dtype": "float16",
        "tie_word_embeddings": False,
    }
    model = read(outer)
    assert model.parameters == read(QWEN_MOE).parameters
    assert model.formats.attention.dtype == "fp16"
    assert any("vision tower" in note for note in model.notes)


def test_gemma3_wrapper_leaves_fields_to_class_defaults():
    inner = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    outer = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {**inner, "model_type": "gemma3_text"},
        "torch_dtype": "bfloat16",
    }
    model = read(outer)
    assert model.parameters == 3_880_263_168
    assert any("class default" in note for note in model.notes)


def test_sparse_layers_of_qwen():
    model = read({**QWEN_MOE, "decoder_sparse_step": 2, "mlp_only_layers": [1, 3]})
    kinds = model.layer_kinds
    assert [kind == "full-moe" for kind in kinds[:8]] == [False] * 5 + [True, False, True]


def test_dense_first_and_moe_frequency():
    model = read({**LATENT, "first_k_dense_replace": 3, "moe_layer_freq": 2})
    assert model.layer_kinds[:6] == (
        "latent-dense",
        "latent-dense",
        "latent-dense",
        "latent-dense",
        "latent-moe",
        "latent-dense",
    )


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({**LLAMA, "sliding_window": 4096}, [4096] * 32),
        (config("gemma2", "Gemma2ForCausalLM", (64, 4, 4, 2), 64, 100, sliding_window=8), [8, None, 8, None]),
        (
            config("gemma3_text", "Gemma3ForCausalLM", (64, 6, 4, 2), 64, 100, sliding_window=8),
            [8, 8, 8, 8, 8, None],
        ),
        (
            config(
                "qwen2",
                "Qwen2ForCausalLM",
                (64, 4, 4, 2),
                64,
                100,
                sliding_window=8,
                use_sliding_window=True,
                max_window_layers=2,
            ),
            [None, None, 8, 8],
        ),
        (config("qwen2", "Qwen2ForCausalLM", (64, 4, 4, 2), 64, 100, sliding_window=8), [None] * 4),
        (
            {
                **LLAMA,
                "num_hidden_layers": 2,
                "sliding_window": 9,
                "layer_types": ["full_attention", "sliding_attention"],
            },
            [None, 9],
        ),
    ],
)
def test_windows(tree, expected):
    model = read(tree)
    assert [model.kinds[kind].attention.window for kind in model.layer_kinds] == expected


def test_linear_layers_and_their_state():
    model = read(QWEN_NEXT)
    assert model.layer_kinds[:4] == ("linear-moe", "linear-moe", "linear-moe", "full-moe")
    linear = model.kinds["linear-moe"].attention
    assert linear.state_bytes_per_sequence == 32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 3 * 2


SELECTING = {
    **LATENT,
    "architectures": ["GlmMoeDsaForCausalLM"],
    "model_type": "glm_moe_dsa",
    "num_hidden_layers": 4,
    "index_n_heads": 32,
    "index_head_dim": 128,
    "index_topk": 2048,
}


def test_an_indexer_selects_tokens():
    plain = read({**LATENT, "num_hidden_layers": 4, "topk_method": "noaux_tc"})
    model = read({**SELECTING, "indexer_types": ["full", "full", "shared", "full"]})
    indexer = 1536 * 32 * 128 + 5120 * 128 + 5120 * 32 + 2 * 128
    assert model.parameters - plain.parameters == 3 * indexer
    kinds = [model.kinds[kind].attention for kind in model.layer_kinds]
    assert [part.index_heads for part in kinds] == [32, 32, 0, 32]
    assert {part.selected_tokens for part in kinds} == {2048}
    option = Option(attn_tp=4, attn_dp=1, moe_tp=4, moe_ep=1)
    own, shared = (kv_bytes_per_request(model, model.kinds[model.layer_kinds[i]], option, 5000) for i in (1, 2))
    assert own - shared == 5000 * (128 + 4)
    assert kv_bytes_read(model, model.kinds[model.layer_kinds[2]], option, 5000, queries=1) == 2048 * 576 * 2


def test_selection_shared_by_an_unknown_rule_is_refused():
    with pytest.raises(InputError, match="index_topk_freq"):
        read({**SELECTING, "index_topk_freq": 4})
    with pytest.raises(InputError, match="indexer_types"):
        read({**SELECTING, "indexer_types": ["full"]})


def block(group, multiplier):
    return {
        "attention": {"n_heads_in_group": group, "no_op": group is None},
        "ffn": {"ffn_mult": multiplier, "no_op": multiplier is None},
    }


def test_searched_layers_keep_their_own_width():
    tree = config("nemotron-nas", "DeciLMForCausalLM", (8192, 4, 64, None), None, 128256)
    blocks = [block(8, 5.25), block(None, 2.625), block(8, None), block(16, 1.3125)]
    model = read({**tree, "block_configs": blocks})
    parts = [model.kinds[kind] for kind in model.layer_kinds]
    assert [layer.feed_forward.kind for layer in parts] == ["dense", "dense", "none", "dense"]
    assert [layer.feed_forward.intermediate for layer in parts if layer.feed_forward.kind == "dense"] == [
        28672,
        14336,
        7168,
    ]
    assert [layer.norm_parameters // 8192 for layer in parts] == [2, 1, 1, 2]
    assert [layer.attention.kv_heads for layer in parts if layer.attention.kind == "gqa"] == [8, 8, 4]
    with pytest.raises(InputError, match="replace_with_linear"):
        read({**tree, "block_configs": [{**blocks[0], "ffn": {"replace_with_linear": True}}] * 4})


@pytest.mark.parametrize(
    ("base", "changes", "field"),
    [
        (LATENT, {"index_topk": 2048}, "index_topk"),
        (LATENT, {"attention_bias": True}, "attention_bias"),
        (LATENT, {"num_experts_per_tok": 200}, "num_experts_per_tok"),
        (
            config("minimax_m2", "MiniMaxM2ForCausalLM", (64, 2, 4, 2), 64, 100, num_local_experts=4),
            {"attn_type_list": [1, 0], "num_experts_per_tok": 2},
            "lightning",
        ),
    ],
)
def test_what_a_reader_does_not_know_is_refused(base, changes, field):
    with pytest.raises(InputError, match=field):
        read({**base, **changes})


@pytest.mark.parametrize("name", catalogue.model_names())
def test_catalogue_configs_hold_only_fields_that_are_read(name):
    folder = Path(families.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    tree = yaml.safe_load((catalogue.FOLDER / "models" / f"{name}.yaml").read_text())
    unread = [field for field in tree["config"] if f'"{field}"' not in source]
    assert unread == []


def test_gemma4_global_layers():
    model = catalogue.load_model("gemma-4-26b-a4b")
    wide = model.kinds["full-moe"].attention
    assert (wide.kv_heads, wide.head_dim, wide.key_is_value, wide.window) == (2, 512, True, None)
    narrow = model.kinds["sliding-moe"].attention
    assert (narrow.kv_heads, narrow.head_dim, narrow.key_is_value, narrow.window) == (8, 256, False, 1024)


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
    ],
)
def test_quantisation(quantization, attention, experts):
    formats = read({**QWEN_MOE, "quantization_config": quantization}).formats
    found = [(item.dtype, item.block, item.scale_bits) for item in (formats.attention, formats.experts)]
    assert found == [attention, experts]
    assert formats.head.dtype == formats.embedding.dtype == formats.router.dtype == "bf16"


def test_a_class_stored_in_two_formats_counts_as_the_wider():
    some = [f"model.layers.{index}.self_attn.q_proj" for index in range(24)]
    model = read({**QWEN_MOE, "quantization_config": {**FP8, "modules_to_not_convert": some}})
    assert model.formats.attention.dtype == "bf16"
    assert any("attention: stored as" in note for note in model.notes)


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


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"a": 1, "a": 2}', "[" * 100_000, '{"n": ' + "1" * 5000 + "}", "\x00"]
)
def test_files_that_are_no_config(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        catalogue.load_model(str(path))


def test_infinity_in_an_unused_field_is_accepted(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, "time_step_limit": [0.0, float("inf")]}))
    assert catalogue.load_model(str(path)).parameters == 8_030_261_248


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.lists(st.integers(-2, 50), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=3),
)
BASES = [LLAMA, QWEN_MOE, LATENT, QWEN_NEXT]
FIELDS = sorted(
    {field for tree in BASES for field in tree}
    | {"quantization_config", "layer_types", "text_config", "sliding_window", "moe_layer_freq", "mlp_only_layers"}
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3))
def test_no_config_ends_in_a_traceback(base, changes):
    with contextlib.suppress(InputError):
        assert read({**base, **changes}).parameters > 0


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


SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "image_size": 896,
    "patch_size": 14,
}
QWEN_TOWER = {
    "model_type": "qwen3_vl",
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "out_hidden_size": 4096,
    "patch_size": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}
PIXTRAL = {
    "model_type": "pixtral",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "patch_size": 14,
}
LLAMA_TOWER = {
    "model_type": "llama4_vision_model",
    "hidden_size": 1408,
    "intermediate_size": 5632,
    "num_hidden_layers": 34,
    "image_size": 336,
    "patch_size": 14,
    "projector_input_dim": 4096,
    "projector_output_dim": 4096,
    "vision_output_dim": 4096,
}


@pytest.mark.parametrize(
    ("name", "architecture", "tower", "total"),
    [
        ("gemma-3-4b", "Gemma3ForConditionalGeneration", SIGLIP, 4_300_079_472),
        ("qwen3-8b", "Qwen3VLForConditionalGeneration", QWEN_TOWER, 8_767_123_696),
        ("mistral-small-3.1-24b", "Mistral3ForConditionalGeneration", PIXTRAL, 24_011_361_280),
        ("llama-4-maverick", "Llama4ForConditionalGeneration", LLAMA_TOWER, 401_583_781_376),
    ],
)
def test_towers_complete_the_published_checkpoints(name, architecture, tower, total):
    text = yaml.safe_load((catalogue.FOLDER / "models" / f"{name}.yaml").read_text())["config"]
    model = read({"architectures": [architecture], "text_config": text, "vision_config": tower})
    assert model.parameters + model.extra_parameters == total
