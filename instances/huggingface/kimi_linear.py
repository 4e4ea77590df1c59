"""Reader of Kimi Linear and Kimi K3: Kimi Delta Attention with one latent-attention layer in four.

Sources: vLLM ``model_executor/models/kimi_linear.py`` and ``layers/kda.py``; aiconfigurator ``sdk/models/kimi_k3.py``
for what K3 adds (full-rank gate, output gate of the latent layers, experts in a latent width). K3's residual attention,
a few vectors a layer, is not counted.
"""

from __future__ import annotations

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.parts import BFLOAT16_BYTES, FLOAT32_BYTES, dense, latent, layers_of, mixture
from shardproof.instances.layers import Attention, FeedForward, LinearAttention, Matrix


def read_kimi_linear(config: Config) -> Decoder:
    """Kimi Linear and Kimi K3; layers are counted from 1 in ``linear_attn_config``."""
    section = config.section("linear_attn_config")
    if section is None:
        raise config.refuse("linear_attn_config", "is missing; add it as in the model's published config.json")
    linear = Config(fields=section, where=f"{config.where}: linear_attn_config")
    full = frozenset(linear.numbers("full_attn_layers") or ())
    delta = frozenset(linear.numbers("kda_layers") or ()) or frozenset(range(1, config.layer_count + 1)) - full
    if full & delta or full | delta != frozenset(range(1, config.layer_count + 1)):
        raise linear.refuse("kda_layers", f"and full_attn_layers must share out layers 1 to {config.layer_count}")

    def attention(index: int) -> Attention:
        return delta_attention(config, linear) if index + 1 in delta else latent(config)

    layers = layers_of(config, attention, lambda index: _feed_forward(config, index))
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def _feed_forward(config: Config, index: int) -> FeedForward:
    first = config.integer("first_k_dense_replace", default=0, minimum=0)
    if not config.has("num_experts") or index < first or index % config.integer("moe_layer_freq", default=1):
        return dense(config)
    width = config.optional_integer("routed_expert_hidden_size")
    normed = width if width and config.flag("latent_moe_use_norm", default=False) else 0
    return mixture(
        config,
        shared=config.integer("num_shared_experts", default=0, minimum=0) * config.integer("moe_intermediate_size"),
        router_parameters=config.integer("num_experts") + normed,
        latent_size=width,
    )


def delta_attention(config: Config, linear: Config) -> LinearAttention:
    """Kimi Delta Attention: q, k, v behind short convolutions, a decay for each channel, a gated norm."""
    heads, width = linear.integer("num_heads"), linear.integer("head_dim")
    kernel = linear.integer("short_conv_kernel_size", default=4)
    inner, hidden = heads * width, config.hidden
    full_rank = linear.flag("use_full_rank_gate", default=False)
    gate = (
        (_matrix("gate", hidden, inner),)
        if full_rank
        else (_whole("gate_down", hidden, width), _matrix("gate_up", width, inner))
    )
    return LinearAttention(
        heads=heads,
        key_heads=heads,
        key_dim=width,
        value_dim=width,
        conv_kernel=kernel,
        projections=(
            *(_matrix(name, hidden, inner) for name in ("query", "key", "value")),
            *gate,
            _whole("forget_down", hidden, width),
            _matrix("forget_up", width, inner),
            Matrix(name="step", inputs=hidden, outputs=heads, tensor_class="norms", shard="heads"),
            Matrix(name="output", inputs=inner, outputs=hidden, tensor_class="attention", shard="heads", cut="inputs"),
        ),
        norm_parameters=3 * inner * kernel + inner + heads + width,
        state_bytes_per_sequence=inner * width * FLOAT32_BYTES + 3 * inner * (kernel - 1) * BFLOAT16_BYTES,
    )


def _matrix(name: str, inputs: int, outputs: int) -> Matrix:
    return Matrix(name=name, inputs=inputs, outputs=outputs, tensor_class="attention", shard="heads")


def _whole(name: str, inputs: int, outputs: int) -> Matrix:
    return Matrix(name=name, inputs=inputs, outputs=outputs, tensor_class="attention", shard="none")
