"""Readers of the Gemma families, dense or with experts."""

from __future__ import annotations

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.parts import (
    dense,
    grouped_query,
    head_width,
    kv_heads,
    layers_of,
    mixture,
    windows,
)
from shardproof.instances.layers import DenseFeedForward, GroupedQueryAttention, Layer, MixtureOfExperts


def read_gemma(config: Config) -> Decoder:
    """Gemma 1: Llama with wide heads and a tied head."""
    return _gemma(config, spans=(None,) * config.layer_count, norms=2)


def read_gemma2(config: Config) -> Decoder:
    """Gemma 2: four norms a layer, a window on every other layer."""
    window = config.optional_integer("sliding_window")
    return _gemma(config, spans=windows(config, lambda index: None if index % 2 else window), norms=4)


def read_gemma3(config: Config) -> Decoder:
    """Gemma 3: four norms a layer, q and k norms, one full layer in ``sliding_window_pattern``."""
    window = config.optional_integer("sliding_window")
    period = config.integer("sliding_window_pattern", "_sliding_window_pattern", default=6)
    spans = windows(config, lambda index: window if (index + 1) % period else None)
    return _gemma(config, spans=spans, norms=4, head_norms=True)


def _gemma(config: Config, *, spans: tuple[int | None, ...], norms: int, head_norms: bool = False) -> Decoder:
    bias = config.flag("attention_bias", default=False)
    layers = layers_of(
        config,
        lambda index: grouped_query(
            config, window=spans[index], qkv_bias=bias, output_bias=bias, head_norms=head_norms
        ),
        lambda _: dense(config),
        norms=norms,
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_gemma4(config: Config) -> Decoder:
    """Gemma 4: wider heads, fewer KV heads and (where said) keys used as values in the full layers."""
    for field in ("hidden_size_per_layer_input", "num_kv_shared_layers"):
        if config.optional_integer(field, minimum=0):
            raise config.refuse(field, "per-layer inputs and shared KV layers of Gemma 4 are not understood")
    window = config.integer("sliding_window", default=512)
    spans = windows(config, lambda index: window if (index + 1) % 6 else None)
    feed_forward, norms = _gemma4_feed_forward(config)
    layers = tuple(
        Layer(
            attention=_gemma4_attention(config, span),
            feed_forward=feed_forward,
            norm_parameters=norms * config.hidden,
        )
        for span in spans
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def _gemma4_attention(config: Config, window: int | None) -> GroupedQueryAttention:
    bias = config.flag("attention_bias", default=False)
    if window is not None:
        return grouped_query(config, window=window, qkv_bias=bias, output_bias=bias, head_norms=True)
    width = config.integer("global_head_dim", default=head_width(config))
    shared = config.flag("attention_k_eq_v", default=False)
    return GroupedQueryAttention(
        heads=config.integer("num_attention_heads"),
        kv_heads=config.integer("num_global_key_value_heads", default=kv_heads(config)) if shared else kv_heads(config),
        head_dim=width,
        qkv_bias=bias,
        output_bias=bias,
        key_is_value=shared,
        norm_parameters=2 * width,
    )


def _gemma4_feed_forward(config: Config) -> tuple[DenseFeedForward | MixtureOfExperts, int]:
    """Return Gemma 4's feed-forward part and its layer's norms: a dense branch, with or without experts."""
    if not config.flag("enable_moe_block", default=False):
        return dense(config), 4
    experts = config.integer("num_experts")
    routed = mixture(config, router_parameters=config.hidden + experts)
    return routed.model_copy(update={"dense_intermediate": config.integer("intermediate_size")}), 7
