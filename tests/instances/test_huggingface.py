"""Hugging Face configs: published totals and the rules by which layers differ."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shardproof.formulations.costs.memory import kv_bytes_per_request, kv_bytes_read
from shardproof.instances import catalogue
from shardproof.instances.errors import InputError
from shardproof.instances.huggingface import families
from shardproof.instances.huggingface.families import FAMILIES
from shardproof.instances.option import Option
from tests.oracles.places import SHARED
from tests.oracles.published_configs import LATENT, LLAMA, PUBLISHED, QWEN_MOE, QWEN_NEXT, config, read

SAMPLES = sorted((SHARED / "huggingface").glob("*.json"))


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


@pytest.mark.parametrize("name", catalogue.model_names())
def test_catalogue_configs_hold_only_fields_that_are_read(name):
    folder = Path(families.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    tree = yaml.safe_load((catalogue.FOLDER / "models" / f"{name}.yaml").read_text())
    unread = [field for field in tree.get("config", {}) if f'"{field}"' not in source]
    assert unread == []


def test_gemma4_global_layers():
    model = catalogue.load_model("gemma-4-26b-a4b")
    wide = model.kinds["full-moe"].attention
    assert (wide.kv_heads, wide.head_dim, wide.key_is_value, wide.window) == (2, 512, True, None)
    narrow = model.kinds["sliding-moe"].attention
    assert (narrow.kv_heads, narrow.head_dim, narrow.key_is_value, narrow.window) == (8, 256, False, 1024)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("mimo-v2-flash", 309),
        ("kimi-k3", 2_779),
        ("kimi-linear-48b-a3b-instruct", 49),
        ("minimax-m3", 426),
        ("step-3.5-flash", 197),
        ("nemotron-h-56b-base", 56),
    ],
)
def test_newer_families_add_up_to_what_their_cards_say(name, billions):
    assert round(catalogue.load_model(name).parameters / 1e9) == billions


def test_windowed_layers_have_widths_of_their_own():
    mimo, step = catalogue.load_model("mimo-v2-flash"), catalogue.load_model("step-3.5-flash")
    kinds = {(kind.attention.window, kind.attention.kv_heads) for kind in mimo.kinds.values()}
    assert kinds == {(None, 4), (128, 8)}
    values = {matrix.outputs for matrix in mimo.kinds["full-dense"].attention.matrices(4096) if matrix.name == "value"}
    assert values == {4 * 128}
    assert {(kind.attention.window, kind.attention.heads) for kind in step.kinds.values()} == {(None, 64), (512, 96)}


def test_delta_attention_keeps_a_state_and_latent_layers_a_cache():
    model = catalogue.load_model("kimi-linear-48b-a3b-instruct")
    assert model.layer_kinds.count("linear-moe") + model.layer_kinds.count("linear-dense") == 20
    linear = model.kinds["linear-moe"].attention
    assert linear.state_bytes_per_sequence == 32 * 128 * 128 * 4 + 3 * 4096 * 3 * 2
    option = Option(1, 1, 1, 1)
    assert kv_bytes_per_request(model, model.kinds["linear-moe"], option, 10) == kv_bytes_per_request(
        model, model.kinds["linear-moe"], option, 10_000
    )
    assert kv_bytes_per_request(model, model.kinds["latent-moe"], option, 10) == 10 * 576 * 2


def test_block_selection_caches_one_key_a_token():
    model = catalogue.load_model("minimax-m3")
    plain, indexed = (
        next(kind for kind in model.kinds.values() if bool(kind.attention.index_heads) == given)
        for given in (False, True)
    )
    option = Option(1, 1, 1, 1)
    more = kv_bytes_per_request(model, indexed, option, 7) - kv_bytes_per_request(model, plain, option, 7)
    assert more == 7 * 128 * 2


def test_yarn_lengthens_the_context():
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert read({**QWEN_MOE, "rope_scaling": yarn}).max_position == 131_072
    assert read({**QWEN_MOE, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}).max_position == 32_768
