"""Multi-token-prediction modules as configs tell them: how many, which layers, how they are stored."""

from __future__ import annotations

from typing import Any

import pytest

from shardproof.instances.catalogue import load_model
from shardproof.instances.huggingface import from_config
from shardproof.instances.model import Model


def elements(model: Model) -> int:
    """Elements of one module's layers, every expert counted."""
    return sum(
        Model.model_validate(model.model_dump() | {"kinds": {"one": layer}, "runs": [{"pattern": ["one"]}]})
        .layer_parameters("one")
        for layer in model.predictors
    )  # fmt: skip


def test_the_module_of_deepseek_v3_is_as_large_as_published() -> None:
    """14 B in its report, of which embedding and head, 0.93 B each, and the joining matrix are shared or apart."""
    model = load_model("deepseek-v3")
    assert model.predictor_modules == 1
    joined = 2 * model.hidden**2
    assert (elements(model) + joined) / 1e9 == pytest.approx(11.6, abs=0.05)
    assert (elements(model) + joined + 2 * model.vocab * model.hidden) / 1e9 == pytest.approx(13.5, abs=0.1)


@pytest.mark.parametrize(
    ("name", "modules", "layers"),
    [
        ("glm-4.5", 1, 1),
        ("qwen3.5-397b-a17b", 1, 1),
        ("step-3.5-flash", 3, 1),
        ("minimax-m2.5", 3, 1),
        ("nemotron-3-super-120b-a12b", 1, 2),
        ("qwen3-8b", 0, 0),
        ("kimi-k2", 0, 0),
    ],
)
def test_modules_and_their_layers(name: str, modules: int, layers: int) -> None:
    model = load_model(name)
    assert (model.predictor_modules, len(model.predictors)) == (modules, layers)
    assert all(layer.attention.kind != "linear" for layer in model.predictors)


@pytest.mark.parametrize(
    ("name", "experts"),
    [("deepseek-v3", "fp8"), ("qwen3.5-397b-a17b-nvfp4", "bf16"), ("deepseek-r1-0528-nvfp4", "nvfp4")],
)
def test_modules_are_stored_as_the_checkpoint_stores_them(name: str, experts: str) -> None:
    """A list of modules left alone that names mtp leaves them at 16 bits, whatever the layers are."""
    (layer,) = load_model(name).predictors
    assert layer.formats is not None
    assert layer.formats.experts.dtype == experts


def config(**changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_hidden_layers": 4,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
        "torch_dtype": "bfloat16",
    }
    return tree | changes


def test_any_config_that_says_so_has_modules() -> None:
    """Keyed by what the file says, never by a name; more modules than any checkpoint has are cut."""
    assert from_config(config(), name="x", source="test").predictor_modules == 0
    found = from_config(config(num_nextn_predict_layers=2), name="x", source="test")
    assert (found.predictor_modules, found.predictors) == (2, (found.kinds["full-dense"],))
    assert from_config(config(num_mtp_modules=10**6), name="x", source="test").predictor_modules == 64


def test_formats_that_a_question_asks_for_hold_in_modules_too() -> None:
    model = load_model("deepseek-v3")
    uniform = model.with_formats(model.formats.uniform("bf16"))
    assert all(layer.formats is None for layer in uniform.predictors)
