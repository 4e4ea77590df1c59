"""Models: layers, runs and parameter counts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardproof.instances.huggingface.decoder import fold_runs
from shardproof.instances.layers import (
    DenseFeedForward,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    MixtureOfExperts,
    NoAttention,
    NoFeedForward,
)
from shardproof.instances.model import Formats, LayerRun, Model


def tiny(**changes):
    layer = Layer(
        attention=GroupedQueryAttention(heads=4, kv_heads=2, head_dim=8, norm_parameters=16),
        feed_forward=DenseFeedForward(intermediate=64),
        norm_parameters=64,
    )
    fields = {
        "name": "tiny",
        "family": "test",
        "source": "made up",
        "hidden": 32,
        "vocab": 100,
        "max_position": 1024,
        "kinds": {"full-dense": layer},
        "runs": (LayerRun(pattern=("full-dense",), repeat=3),),
        "final_norm_parameters": 32,
        "formats": Formats.uniform("bf16"),
    }
    return Model(**{**fields, **changes})


def test_parameters_by_hand():
    attention = 32 * 32 + 2 * 32 * 16 + 32 * 32
    assert tiny().layer_parameters("full-dense") == attention + 3 * 32 * 64 + 64 + 16
    assert tiny().parameters == 3 * tiny().layer_parameters("full-dense") + 2 * 100 * 32 + 32
    assert tiny(tied=True).parameters == tiny().parameters - 100 * 32


def test_active_parameters_count_topk_experts():
    experts = MixtureOfExperts(experts=8, topk=2, intermediate=16, shared_intermediate=24, router_parameters=8)
    layer = Layer(attention=NoAttention(), feed_forward=experts, norm_parameters=32)
    model = tiny(kinds={"moe": layer}, runs=(LayerRun(pattern=("moe",), repeat=5),))
    assert model.parameters - model.active_parameters == 5 * 6 * 3 * 32 * 16


def test_latent_experts_work_in_their_own_width():
    experts = MixtureOfExperts(experts=4, topk=2, intermediate=16, gated=False, latent_size=8)
    layer = Layer(attention=NoAttention(), feed_forward=experts, norm_parameters=0)
    model = tiny(kinds={"moe": layer}, runs=(LayerRun(pattern=("moe",)),))
    assert model.layer_parameters("moe") == 4 * 2 * 8 * 16 + 2 * 32 * 8 + 32 * 4


@pytest.mark.parametrize("rank", [None, 16])
def test_latent_attention_by_hand(rank):
    attention = LatentAttention(
        heads=4, q_lora_rank=rank, kv_lora_rank=8, qk_nope_head_dim=6, qk_rope_head_dim=2, v_head_dim=5
    )
    query = 32 * 4 * 8 if rank is None else 32 * rank + rank * 4 * 8
    rest = 32 * (8 + 2) + 8 * 4 * (6 + 5) + 4 * 5 * 32
    assert sum(matrix.parameters for matrix in attention.matrices(32)) == query + rest


def test_output_gate_bias_and_shared_keys():
    plain = GroupedQueryAttention(heads=4, kv_heads=2, head_dim=8)
    gated = plain.model_copy(update={"output_gate": True})
    shared = plain.model_copy(update={"key_is_value": True})
    biased = plain.model_copy(update={"qkv_bias": True, "output_bias": True})
    size = {name: sum(m.parameters for m in part.matrices(32)) for name, part in locals().items() if name != "size"}
    assert size["gated"] - size["plain"] == 32 * 32
    assert size["plain"] - size["shared"] == 32 * 16
    assert size["biased"] - size["plain"] == 32 + 16 + 16 + 32


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="not defined: other"):
        tiny(runs=(LayerRun(pattern=("other",)),))


def test_empty_parts_hold_nothing():
    assert NoAttention().matrices(32) == ()
    assert NoFeedForward().matrices(32) == ()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=80))
def test_folding_keeps_the_order(kinds):
    runs = fold_runs(kinds)
    assert [kind for run in runs for _ in range(run.repeat) for kind in run.pattern] == kinds


def test_folding_finds_the_pattern():
    runs = fold_runs(["a", "a", "a"] + ["b", "c"] * 20)
    assert [(run.pattern, run.repeat) for run in runs] == [(("a",), 3), (("b", "c"), 20)]
