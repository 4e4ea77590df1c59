"""Reader of DeepSeek-V4: compressed attention, hyper-connections, experts behind hashes on the first layers.

Sources: vLLM ``models/deepseek_v4/attention.py``, ``compressor.py`` and ``nvidia/model.py``; SGLang
``models/deepseek_v4.py`` and ``configs/deepseek_v4.py``.
"""

from __future__ import annotations

from shardproof.instances.compressed import CompressedAttention
from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.parts import mixture
from shardproof.instances.layers import FeedForward, Layer

SPARSE, HEAVY = 4, 128
"""Tokens of one entry: behind an indexer that selects entries, and without one."""


def read_deepseek_v4(config: Config) -> Decoder:
    """DeepSeek-V4 Flash and Pro; the cache is kept in 8 bits with a rotary part of 16, whatever is asked for."""
    for field in ("engram_layer_ids", "kv_source_layer_ids", "index_source_layer_ids", "vision_n_layers"):
        if config.fields.get(field):
            raise config.refuse(field, "is not understood")
    streams = config.integer("hc_mult", default=4)
    ratios, hashed = _ratios(config), config.integer("num_hash_layers", "n_hash_layers", default=0, minimum=0)
    mixed = 2 * ((2 + streams) * streams * (streams * config.hidden + 1) + 3)
    layers = tuple(
        Layer(
            attention=_attention(config, ratio, mixed),
            feed_forward=_feed_forward(config, scored=index >= hashed),
            norm_parameters=2 * config.hidden,
        )
        for index, ratio in enumerate(ratios)
    )
    head = streams * streams * config.hidden + streams + 1
    return Decoder(layers, config.hidden + head, kv_dtype="fp8", residual_streams=streams)


def _ratios(config: Config) -> tuple[int, ...]:
    """Tokens of an entry on every layer: listed, or named by ``layer_types`` and ``compress_rates``."""
    listed = config.numbers("compress_ratios")
    if listed is None:
        types, rates = config.words("layer_types"), config.section("compress_rates") or {}
        if types is None:
            raise config.refuse("compress_ratios", "is missing; add it as in the model's published config.json")
        where = Config(fields=rates, where=f"{config.where}: compress_rates")
        listed = tuple(where.integer(kind, default=0, minimum=0) for kind in types)
    if len(listed) < config.layer_count:
        raise config.refuse("compress_ratios", f"has {len(listed)} entries for {config.layer_count} layers")
    ratios = listed[: config.layer_count]
    strange = sorted(set(ratios) - {0, SPARSE, HEAVY})
    if strange:
        raise config.refuse("compress_ratios", f"{strange[0]} is not understood; understood: 0, {SPARSE}, {HEAVY}")
    return ratios


def _attention(config: Config, ratio: int, mixed: int) -> CompressedAttention:
    width, rank = config.integer("head_dim"), config.integer("q_lora_rank")
    heads = config.integer("num_attention_heads")
    groups, overlap = config.integer("o_groups"), ratio == SPARSE
    if heads % groups:
        raise config.refuse("o_groups", f"does not divide num_attention_heads ({heads})")
    indexed = config.integer("index_head_dim") if overlap else 0
    vectors = heads + rank + width + mixed
    if ratio:
        positions = ratio * (2 if overlap else 1)
        vectors += (positions + 1) * width + ((positions + 1) * indexed if indexed else 0)
    return CompressedAttention(
        heads=heads,
        head_dim=width,
        rope_head_dim=config.integer("qk_rope_head_dim"),
        q_lora_rank=rank,
        output_groups=groups,
        output_rank=config.integer("o_lora_rank"),
        window=config.integer("sliding_window", "window_size"),
        ratio=ratio,
        overlap=overlap,
        selected_entries=config.integer("index_topk") if overlap else None,
        index_heads=config.integer("index_n_heads") if overlap else 0,
        index_head_dim=indexed,
        norm_parameters=vectors,
    )


def _feed_forward(config: Config, *, scored: bool) -> FeedForward:
    width = config.integer("moe_intermediate_size")
    shared = config.integer("n_shared_experts", default=0, minimum=0) * width
    return mixture(config, shared=shared, router_parameters=config.integer("n_routed_experts") if scored else 0)
