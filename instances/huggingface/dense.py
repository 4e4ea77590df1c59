"""Readers of the families whose layers all have a dense feed-forward part."""

from __future__ import annotations

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.parts import (
    dense,
    grouped_query,
    head_width,
    kv_heads,
    layers_of,
    qwen_windows,
    windows,
)


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
