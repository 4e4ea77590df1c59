"""Readers of the families whose layers hold experts."""

from __future__ import annotations

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.parts import (
    dense,
    grouped_query,
    head_width,
    is_sparse,
    kv_heads,
    latent,
    layers_of,
    mixture,
    qwen_windows,
    windows,
)
from shardproof.instances.layers import FeedForward


def read_qwen2_moe(config: Config) -> Decoder:
    """Qwen1.5 and Qwen2 MoE: biases on q, k, v; one shared expert behind a gate of its own."""
    spans = qwen_windows(config)
    bias = config.flag("qkv_bias", default=True)
    shared = config.integer("shared_expert_intermediate_size", minimum=0)
    layers = layers_of(
        config,
        lambda index: grouped_query(config, window=spans[index], qkv_bias=bias),
        lambda index: qwen_feed_forward(config, index, shared=shared),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_qwen3_moe(config: Config) -> Decoder:
    """Qwen 3 MoE: q and k norms a head wide, no shared expert."""
    spans = qwen_windows(config)
    bias = config.flag("attention_bias", default=False)
    layers = layers_of(
        config,
        lambda index: grouped_query(config, window=spans[index], qkv_bias=bias, output_bias=bias, head_norms=True),
        lambda index: qwen_feed_forward(config, index, shared=0),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def qwen_feed_forward(config: Config, index: int, *, shared: int) -> FeedForward:
    """Experts on the layers that ``decoder_sparse_step`` and ``mlp_only_layers`` leave, else dense."""
    if not is_sparse(config, index):
        return dense(config)
    return mixture(config, shared=shared, router_parameters=config.hidden if shared else 0)


def read_mixtral(config: Config) -> Decoder:
    """Mixtral: every layer has experts as wide as ``intermediate_size``."""
    window = config.optional_integer("sliding_window")
    layers = layers_of(
        config,
        lambda _: grouped_query(config, window=window),
        lambda _: mixture(config, width="intermediate_size"),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_minimax_m2(config: Config) -> Decoder:
    """MiniMax M2: q and k norms as wide as the projections, a score bias per expert."""
    if 0 in (config.numbers("attn_type_list") or ()):
        raise config.refuse("attn_type_list", "layers of type 0 (lightning attention) are not understood")
    normed = config.flag("use_qk_norm", default=True)
    widths = (config.integer("num_attention_heads") + kv_heads(config)) * head_width(config)
    scores = config.integer("num_local_experts") if config.flag("use_routing_bias", default=True) else 0
    shared = config.integer("shared_intermediate_size", default=0, minimum=0)
    layers = layers_of(
        config,
        lambda _: grouped_query(config, extra=widths if normed else 0),
        lambda _: mixture(config, width="intermediate_size", shared=shared, router_parameters=scores),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_minimax_m3(config: Config) -> Decoder:
    """MiniMax M3: dense first layers, a shared expert, q and k norms a head wide, an indexer on the sparse layers."""
    count = config.layer_count
    routed = config.numbers("moe_layer_freq") or (1,) * count
    sparse = Config(fields=config.section("sparse_attention_config") or {}, where=config.where)
    used = sparse.flag("use_sparse_attention", default=bool(sparse.fields))
    indexed = (sparse.numbers("sparse_attention_freq") or (1,) * count) if used else (0,) * count
    if len(routed) != count or len(indexed) != count:
        raise config.refuse("moe_layer_freq", f"and sparse_attention_freq must have {count} entries")
    heads = sparse.integer("sparse_num_index_heads") if used else 0
    width = sparse.integer("sparse_index_dim") if used else 0
    scores = config.integer("num_local_experts") if config.flag("use_routing_bias", default=True) else 0
    shared = config.integer("shared_intermediate_size", default=0, minimum=0)
    plain = grouped_query(config, head_norms=config.flag("use_qk_norm", default=True))
    blocks = sparse.optional_integer("sparse_topk_blocks") if used else None
    selected = blocks and blocks * sparse.integer("sparse_block_size")
    own = {
        "selected_tokens": selected,
        "index_heads": heads,
        "index_head_dim": width,
        "norm_parameters": plain.norm_parameters + 2 * width,
    }
    layers = layers_of(
        config,
        lambda index: plain.model_copy(update=own) if indexed[index] else plain,
        lambda index: (
            mixture(config, width="intermediate_size", shared=shared, router_parameters=scores)
            if routed[index]
            else dense(config, "dense_intermediate_size")
        ),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_glm4_moe(config: Config) -> Decoder:
    """GLM-4.5 to 4.7: dense first layers, biases on q, k, v, q/k norms where said, a score bias."""
    bias = config.flag("attention_bias", default=False)
    normed = config.flag("use_qk_norm", default=False)
    layers = layers_of(
        config,
        lambda _: grouped_query(config, qkv_bias=bias, head_norms=normed),
        lambda index: deepseek_feed_forward(config, index, score_bias=True),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_deepseek(config: Config) -> Decoder:
    """DeepSeek-V2 and V3, Kimi K2: latent attention, dense first layers, shared experts."""
    if config.has("index_topk"):
        raise config.refuse("index_topk", "attention selected by an indexer is not understood for this model type")
    scored = config.word("topk_method") == "noaux_tc" or config.word("model_type") != "deepseek_v2"
    layers = layers_of(
        config,
        lambda _: latent(config),
        lambda index: deepseek_feed_forward(config, index, score_bias=scored),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_sparse_deepseek(config: Config) -> Decoder:
    """DeepSeek-V3.2, GLM-5: latent attention to the tokens that an indexer selects, shared among some layers."""
    types = config.words("indexer_types") or ("full",) * config.layer_count
    if len(types) != config.layer_count or not set(types) <= {"full", "shared"}:
        raise config.refuse("indexer_types", f"must say 'full' or 'shared' for each of {config.layer_count} layers")
    if not config.has("indexer_types") and config.integer("index_topk_freq", default=1) > 1:
        raise config.refuse("index_topk_freq", "is understood only with indexer_types")
    layers = layers_of(
        config,
        lambda index: latent(config, selects=True, indexes=types[index] == "full"),
        lambda index: deepseek_feed_forward(config, index, score_bias=True),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_ernie(config: Config) -> Decoder:
    """ERNIE 4.5 MoE: experts from ``moe_layer_start_index`` on, every ``moe_layer_interval`` layers."""
    bias = config.flag("use_bias", default=False)
    if bias:
        raise config.refuse("use_bias", "biases in every matrix are not understood")
    first = config.integer("moe_layer_start_index", default=1, minimum=0)
    end = config.integer("moe_layer_end_index", default=-1, minimum=-1)
    last = config.layer_count - 1 if end < 0 else end
    interval = config.integer("moe_layer_interval", default=1)
    shared = config.integer("moe_num_shared_experts", default=2, minimum=0) * config.integer("moe_intermediate_size")
    experts = config.integer("moe_num_experts")
    layers = layers_of(
        config,
        lambda _: grouped_query(config),
        lambda index: (
            mixture(config, shared=shared, router_parameters=experts)
            if first <= index <= last and (index + 1) % interval == 0
            else dense(config)
        ),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def deepseek_feed_forward(config: Config, index: int, *, score_bias: bool) -> FeedForward:
    """Dense before ``first_k_dense_replace`` and off the ``moe_layer_freq`` grid, else experts."""
    first = config.integer("first_k_dense_replace", default=0, minimum=0)
    if index < first or index % config.integer("moe_layer_freq", default=1):
        return dense(config)
    shared = config.integer("n_shared_experts", default=0, minimum=0) * config.integer("moe_intermediate_size")
    scores = config.integer("n_routed_experts") if score_bias else 0
    return mixture(config, shared=shared, router_parameters=scores)


def read_llama4(config: Config) -> Decoder:
    """Llama 4: experts every ``interleave_moe_layer_step`` layers, chunked attention on three layers in four."""
    step = config.integer("interleave_moe_layer_step", default=1)
    sparse = config.numbers("moe_layers")
    rotated = config.numbers("no_rope_layers")
    interval = config.integer("no_rope_layer_interval", default=4)
    chunk = config.integer("attention_chunk_size", default=8192)
    bias = config.flag("attention_bias", default=False)

    def local(index: int) -> bool:
        return bool(rotated[index]) if rotated and index < len(rotated) else (index + 1) % interval != 0

    def has_experts(index: int) -> bool:
        return index in sparse if sparse is not None else (index + 1) % step == 0

    spans = windows(config, lambda index: chunk if local(index) else None)
    shared = config.integer("intermediate_size")
    layers = layers_of(
        config,
        lambda index: grouped_query(
            config, window=spans[index], chunked=spans[index] is not None, qkv_bias=bias, output_bias=bias
        ),
        lambda index: (
            mixture(config, width="intermediate_size", shared=shared)
            if has_experts(index)
            else dense(config, "intermediate_size_mlp")
        ),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_gpt_oss(config: Config) -> Decoder:
    """gpt-oss: biases everywhere, one attention sink a head, a window on every other layer."""
    window = config.optional_integer("sliding_window")
    spans = windows(config, lambda index: window if index % 2 == 0 else None)
    heads, experts = config.integer("num_attention_heads"), config.integer("num_local_experts")
    bias = config.flag("attention_bias", default=True)
    layers = layers_of(
        config,
        lambda index: grouped_query(config, window=spans[index], qkv_bias=bias, output_bias=bias, extra=heads),
        lambda _: mixture(config, width="intermediate_size", expert_bias=True, router_parameters=experts),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_olmoe(config: Config) -> Decoder:
    """OLMoE: q and k norms as wide as the projections."""
    widths = (config.integer("num_attention_heads") + kv_heads(config)) * head_width(config)
    layers = layers_of(
        config,
        lambda _: grouped_query(config, extra=widths),
        lambda _: mixture(config, width="intermediate_size"),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)
