"""Readers of the families that mix linear attention with full attention."""

from __future__ import annotations

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.mixtures import qwen_feed_forward
from shardproof.instances.huggingface.parts import (
    dense,
    gated_delta_net,
    grouped_query,
    layer_types,
    layers_of,
    mamba2,
    mixture,
)
from shardproof.instances.layers import Attention, FeedForward, Layer, NoAttention, NoFeedForward

MIXERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def read_qwen_hybrid(config: Config) -> Decoder:
    """Qwen3-Next and Qwen3.5: Gated DeltaNet with one gated full-attention layer in four."""
    types = layer_types(config, {"linear_attention", "full_attention"})
    interval = config.integer("full_attention_interval", default=4)
    bias = config.flag("attention_bias", default=False)
    gate = config.flag("attn_output_gate", default=True)
    shared = config.integer("shared_expert_intermediate_size", default=0, minimum=0)

    def attention(index: int) -> Attention:
        kind = types[index] if types else "linear_attention" if (index + 1) % interval else "full_attention"
        if kind == "linear_attention":
            return gated_delta_net(config)
        return grouped_query(config, qkv_bias=bias, output_bias=bias, output_gate=gate, head_norms=True)

    def feed_forward(index: int) -> FeedForward:
        if not config.has("num_experts"):
            return dense(config)
        return qwen_feed_forward(config, index, shared=shared)

    return Decoder(layers=layers_of(config, attention, feed_forward), final_norm_parameters=config.hidden)


def read_nemotron_h(config: Config) -> Decoder:
    """Nemotron-H and Nemotron 3: every layer is a Mamba-2, attention, MLP or expert block of its own."""
    return Decoder(
        layers=tuple(_nemotron_layer(config, mixer) for mixer in _nemotron_mixers(config)),
        final_norm_parameters=config.hidden,
    )


def _nemotron_mixers(config: Config) -> tuple[str, ...]:
    field = "hybrid_override_pattern" if config.has("hybrid_override_pattern") else "layers_block_type"
    if field == "hybrid_override_pattern":
        mixers = tuple(MIXERS.get(letter, letter) for letter in config.word(field) or "")
    else:
        mixers = config.words(field) or ()
    unknown = sorted(set(mixers) - set(MIXERS.values()))
    if unknown:
        raise config.refuse(field, f"block {', '.join(unknown)} is not understood; understood: M, *, - and E")
    if not mixers:
        raise config.refuse(field, "is missing; add it as in the model's published config.json")
    if config.has("num_hidden_layers") and len(mixers) != config.layer_count:
        raise config.refuse(field, f"has {len(mixers)} blocks for {config.layer_count} layers")
    return mixers


def _nemotron_layer(config: Config, mixer: str) -> Layer:
    attention: Attention = NoAttention()
    feed_forward: FeedForward = NoFeedForward()
    if mixer == "mamba":
        attention = mamba2(config)
    elif mixer == "attention":
        bias = config.flag("attention_bias", default=False)
        attention = grouped_query(config, qkv_bias=bias, output_bias=bias)
    elif mixer == "mlp":
        feed_forward = dense(config, gated=False, bias=config.flag("mlp_bias", default=False))
    else:
        feed_forward = mixture(
            config,
            shared=config.integer("n_shared_experts", default=1, minimum=0)
            * config.integer("moe_shared_expert_intermediate_size"),
            router_parameters=config.integer("n_routed_experts"),
            gated=False,
            latent_size=config.optional_integer("moe_latent_size"),
        )
    return Layer(attention=attention, feed_forward=feed_forward, norm_parameters=config.hidden)
