"""Readers of the families whose layers all have a dense feed-forward part."""

from __future__ import annotations

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.parts import dense, grouped_query, head_width, kv_heads, layers_of, windows
from shardproof.instances.layers import GroupedQueryAttention, Layer


def read_llama(config: Config) -> Decoder:
    """Llama 2 and 3, Mistral, Ministral, Phi-3, SmolLM3, Granite: two norms, biases only where said."""
    bias = config.flag("attention_bias", default=False)
    mlp_bias = config.flag("mlp_bias", default=False)
    window = config.optional_integer("sliding_window")
    spans = windows(config, lambda _: window)
    layers = layers_of(
        config,
        lambda index: grouped_query(config, window=spans[index], qkv_bias=bias, output_bias=bias),
        lambda _: dense(config, bias=mlp_bias),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_seed(config: Config) -> Decoder:
    """Seed-OSS: Llama whose output projection has a bias switch of its own."""
    layers = layers_of(
        config,
        lambda _: grouped_query(
            config,
            qkv_bias=config.flag("attention_bias", default=True),
            output_bias=config.flag("attention_out_bias", default=False),
        ),
        lambda _: dense(config, bias=config.flag("mlp_bias", default=False)),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def qwen_windows(config: Config) -> tuple[int | None, ...]:
    """Return Qwen's windows: only with ``use_sliding_window``, and only from ``max_window_layers`` on."""
    used = config.flag("use_sliding_window", default=False)
    window = config.optional_integer("sliding_window") if used else None
    first = config.integer("max_window_layers", default=28, minimum=0)
    spans = windows(config, lambda index: window if index >= first else None)
    return spans if used else (None,) * len(spans)


def read_qwen2(config: Config) -> Decoder:
    """Qwen 2 and 2.5, MiMo-7B: biases on q, k and v."""
    spans = qwen_windows(config)
    layers = layers_of(
        config,
        lambda index: grouped_query(config, window=spans[index], qkv_bias=True),
        lambda _: dense(config),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_qwen3(config: Config) -> Decoder:
    """Qwen 3 dense: q and k norms a head wide, biases only where said."""
    spans = qwen_windows(config)
    bias = config.flag("attention_bias", default=False)
    layers = layers_of(
        config,
        lambda index: grouped_query(config, window=spans[index], qkv_bias=bias, output_bias=bias, head_norms=True),
        lambda _: dense(config),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_glm4(config: Config) -> Decoder:
    """GLM-4 dense: four norms a layer, biases on q, k and v where said."""
    bias = config.flag("attention_bias", default=False)
    layers = layers_of(config, lambda _: grouped_query(config, qkv_bias=bias), lambda _: dense(config), norms=4)
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_olmo2(config: Config) -> Decoder:
    """OLMo 2 and 3: two post-norms, q and k norms as wide as the projections."""
    widths = (config.integer("num_attention_heads") + kv_heads(config)) * head_width(config)
    bias = config.flag("attention_bias", default=False)
    spans = windows(config, lambda _: None)
    layers = layers_of(
        config,
        lambda index: grouped_query(config, window=spans[index], qkv_bias=bias, output_bias=bias, extra=widths),
        lambda _: dense(config),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_exaone4(config: Config) -> Decoder:
    """EXAONE 4: two post-norms, q and k norms a head wide, one full layer in four where windows are used."""
    window = config.optional_integer("sliding_window")
    spans = windows(config, lambda index: window if (index + 1) % 4 else None)
    layers = layers_of(
        config, lambda index: grouped_query(config, window=spans[index], head_norms=True), lambda _: dense(config)
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_cohere(config: Config) -> Decoder:
    """Command R: one norm a layer, as attention and feed-forward run side by side; tied head."""
    widths = (config.integer("num_attention_heads") + kv_heads(config)) * head_width(config)
    normed = config.flag("use_qk_norm", default=False)
    return _parallel(config, spans=(None,) * config.layer_count, extra=widths if normed else 0)


def read_cohere2(config: Config) -> Decoder:
    """Command R7B and Command A: as Command R, one full layer in ``sliding_window_pattern``."""
    window = config.optional_integer("sliding_window")
    period = config.integer("sliding_window_pattern", default=4)
    return _parallel(config, spans=windows(config, lambda index: window if (index + 1) % period else None))


def _parallel(config: Config, *, spans: tuple[int | None, ...], extra: int = 0) -> Decoder:
    bias = config.flag("attention_bias", default=False)
    layers = layers_of(
        config,
        lambda index: grouped_query(config, window=spans[index], qkv_bias=bias, output_bias=bias, extra=extra),
        lambda _: dense(config),
        norms=1,
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def read_nemotron(config: Config) -> Decoder:
    """Nemotron-4 and Minitron: a feed-forward part without gate, norms with a bias."""
    bias = config.flag("attention_bias", default=False)
    mlp_bias = config.flag("mlp_bias", default=False)
    layers = layers_of(
        config,
        lambda _: grouped_query(config, qkv_bias=bias, output_bias=bias),
        lambda _: dense(config, bias=mlp_bias, gated=False),
        norms=4,
    )
    return Decoder(layers=layers, final_norm_parameters=2 * config.hidden)


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
    from shardproof.instances.huggingface.mixtures import gemma4_feed_forward

    for field in ("hidden_size_per_layer_input", "num_kv_shared_layers"):
        if config.optional_integer(field, minimum=0):
            raise config.refuse(field, "per-layer inputs and shared KV layers of Gemma 4 are not understood")
    window = config.integer("sliding_window", default=512)
    spans = windows(config, lambda index: window if (index + 1) % 6 else None)
    feed_forward, norms = gemma4_feed_forward(config)
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
