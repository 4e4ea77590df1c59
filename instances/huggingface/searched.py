"""Reader of the families whose layers an architecture search has made unequal."""

from __future__ import annotations

from collections.abc import Mapping

from shardproof.instances.huggingface.config import MAX_LAYERS, Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.parts import head_width
from shardproof.instances.layers import (
    Attention,
    DenseFeedForward,
    FeedForward,
    GroupedQueryAttention,
    Layer,
    NoAttention,
    NoFeedForward,
)
from shardproof.instances.numbers import exact

MULTIPLE = 256


def read_nemotron_nas(config: Config) -> Decoder:
    """Llama-Nemotron: every layer keeps its own share of heads and width, or none (``block_configs``)."""
    blocks = config.fields.get("block_configs")
    if not isinstance(blocks, list) or len(blocks) != config.layer_count or len(blocks) > MAX_LAYERS:
        raise config.refuse("block_configs", f"must list one block for each of {config.layer_count} layers")
    return Decoder(layers=tuple(_layer(config, block) for block in blocks), final_norm_parameters=config.hidden)


def _layer(config: Config, block: object) -> Layer:
    if not isinstance(block, Mapping):
        raise config.refuse("block_configs", "holds a block that is no mapping")
    parts = Config(fields=block, where=f"{config.where}: block_configs")
    attention = _attention(config, _part(parts, "attention"))
    feed_forward = _feed_forward(config, _part(parts, "ffn"))
    norms = (not isinstance(attention, NoAttention)) + (not isinstance(feed_forward, NoFeedForward))
    return Layer(attention=attention, feed_forward=feed_forward, norm_parameters=norms * config.hidden)


def _part(block: Config, name: str) -> Config:
    part = Config(fields=block.section(name) or {}, where=f"{block.where}: {name}")
    for field in ("replace_with_linear", "sparsify", "num_sink_tokens"):
        if part.fields.get(field):
            raise part.refuse(field, "is not understood")
    return part


def _attention(config: Config, part: Config) -> Attention:
    if part.flag("no_op", default=False):
        return NoAttention()
    heads, group = config.integer("num_attention_heads"), part.integer("n_heads_in_group")
    if heads % group:
        raise part.refuse("n_heads_in_group", f"does not divide num_attention_heads ({heads})")
    bias = config.flag("attention_bias", default=False)
    return GroupedQueryAttention(
        heads=heads,
        kv_heads=heads // group,
        head_dim=head_width(config),
        window=part.optional_integer("window_length"),
        qkv_bias=bias,
        output_bias=bias,
    )


def _feed_forward(config: Config, part: Config) -> FeedForward:
    if part.flag("no_op", default=False):
        return NoFeedForward()
    try:
        multiplier = exact(str(part.fields.get("ffn_mult")))
    except ValueError:
        raise part.refuse("ffn_mult", "must be a number") from None
    if not 0 < multiplier <= 64:
        raise part.refuse("ffn_mult", "must lie above 0 and not above 64")
    width = int(2 * multiplier * config.hidden / 3)
    rounded = -(-width // MULTIPLE) * MULTIPLE
    return DenseFeedForward(intermediate=rounded, bias=config.flag("mlp_bias", default=False))
