"""Hugging Face configs: what is not understood is refused by name, and nothing ends in a traceback."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproof.instances import catalogue
from shardproof.instances.errors import InputError
from shardproof.instances.huggingface.schemes import METHODS
from tests.oracles.published_configs import LATENT, LLAMA, QWEN_MOE, QWEN_NEXT, config, read


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model_type": "foo"}, "foo"),
        ({"architectures": ["FooForCausalLM"]}, "FooForCausalLM"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"architectures": ["LlamaForCausalLMEagle3"]}, "LlamaForCausalLMEagle3"),
        ({"model_type": "deepseek_v9"}, "deepseek_v9"),
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
        ({"quantization_config": {"quant_method": "fp8", "ignore": ["re:(a+)+$"]}}, "repetition"),
        ({"quantization_config": {"quant_method": "fp8", "ignore": ["*x"] * 2001}}, "wildcards"),
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


@pytest.mark.slow(reason="hundreds of damaged configurations")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(BASES), st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=3))
def test_no_config_ends_in_a_traceback(base, changes):
    with contextlib.suppress(InputError):
        assert read({**base, **changes}).parameters > 0
