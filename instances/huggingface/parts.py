"""The parts that several families share: projections, experts, windows, norms."""

from __future__ import annotations

from collections.abc import Callable

from shardproof.instances.huggingface.config import Config
from shardproof.instances.layers import (
    Attention,
    DenseFeedForward,
    FeedForward,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    LinearAttention,
    Matrix,
    MixtureOfExperts,
    Shard,
    TensorClass,
)

FLOAT32_BYTES = 4
BFLOAT16_BYTES = 2


def head_width(config: Config) -> int:
    """Return ``head_dim``, or hidden / heads where it is not given."""
    given = config.optional_integer("head_dim")
    if given is not None:
        return given
    heads = config.integer("num_attention_heads")
    if config.hidden % heads:
        raise config.refuse("head_dim", "is missing, and hidden_size is no multiple of num_attention_heads")
    return config.hidden // heads


def kv_heads(config: Config, *, default: int | None = None) -> int:
    """Return ``num_key_value_heads``: as many as query heads where neither it nor a default is given."""
    heads = config.integer("num_attention_heads")
    count = config.integer("num_key_value_heads", default=default or heads)
    if heads % count:
        raise config.refuse("num_key_value_heads", f"does not divide num_attention_heads ({heads})")
    return count


def grouped_query(
    config: Config,
    *,
    window: int | None = None,
    chunked: bool = False,
    qkv_bias: bool = False,
    output_bias: bool = False,
    output_gate: bool = False,
    head_norms: bool = False,
    extra: int = 0,
) -> GroupedQueryAttention:
    """Grouped-query attention; ``head_norms``: one q and one k norm of a head's width."""
    width = head_width(config)
    return GroupedQueryAttention(
        heads=config.integer("num_attention_heads"),
        kv_heads=kv_heads(config),
        head_dim=width,
        window=window,
        chunked=chunked,
        qkv_bias=qkv_bias,
        output_bias=output_bias,
        output_gate=output_gate,
        norm_parameters=(2 * width if head_norms else 0) + extra,
    )


def latent(config: Config, *, selects: bool = False, indexes: bool = False) -> LatentAttention:
    """Multi-head latent attention: norms of the compressed query (if any) and of the compressed KV.

    ``selects``: queries attend to ``index_topk`` tokens; ``indexes``: this layer's own indexer, whose keys have a
    norm with bias, selects them.
    """
    if config.flag("attention_bias", default=False):
        raise config.refuse("attention_bias", "biases in latent attention are not understood")
    query_rank = config.optional_integer("q_lora_rank")
    kv_rank = config.integer("kv_lora_rank")
    index_width = config.integer("index_head_dim") if indexes else 0
    return LatentAttention(
        heads=config.integer("num_attention_heads"),
        q_lora_rank=query_rank,
        kv_lora_rank=kv_rank,
        qk_nope_head_dim=config.integer("qk_nope_head_dim"),
        qk_rope_head_dim=config.integer("qk_rope_head_dim"),
        v_head_dim=config.integer("v_head_dim"),
        selected_tokens=config.integer("index_topk") if selects else None,
        index_heads=config.integer("index_n_heads") if indexes else 0,
        index_head_dim=index_width,
        output_gate=config.flag("mla_use_output_gate", default=False),
        norm_parameters=(query_rank or 0) + kv_rank + 2 * index_width,
    )


def gated_delta_net(config: Config) -> LinearAttention:
    """Gated DeltaNet: q, k, v and gate from one projection, a short convolution, a matrix state per head.

    The convolution, decay and step vectors are counted with the norms: they stay in high precision.
    """
    heads, key_heads = config.integer("linear_num_value_heads"), config.integer("linear_num_key_heads")
    key, value = config.integer("linear_key_head_dim"), config.integer("linear_value_head_dim")
    kernel = config.integer("linear_conv_kernel_dim", default=4)
    convolved = 2 * key_heads * key + heads * value
    state = heads * key * value * FLOAT32_BYTES + convolved * (kernel - 1) * BFLOAT16_BYTES
    hidden = config.hidden
    return LinearAttention(
        heads=heads,
        key_heads=key_heads,
        key_dim=key,
        value_dim=value,
        conv_kernel=kernel,
        projections=(
            _matrix("query_key_value", hidden, convolved),
            _matrix("gate", hidden, heads * value),
            _matrix("decay_and_step", hidden, 2 * heads, tensor_class="norms"),
            _matrix("output", heads * value, hidden, inward=True),
        ),
        norm_parameters=convolved * kernel + 2 * heads + value,
        state_bytes_per_sequence=state,
    )


def mamba2(config: Config) -> LinearAttention:
    """Mamba-2: one input projection (gate, x, B, C, dt), a short convolution, a matrix state per head."""
    heads, width = config.integer("mamba_num_heads"), config.integer("mamba_head_dim")
    groups, state_size = config.integer("n_groups"), config.integer("ssm_state_size")
    kernel = config.integer("conv_kernel", default=4)
    inner = heads * width
    convolved = inner + 2 * groups * state_size
    conv_bias = convolved if config.flag("use_conv_bias", default=True) else 0
    state = heads * width * state_size * FLOAT32_BYTES + convolved * (kernel - 1) * BFLOAT16_BYTES
    bias = config.flag("use_bias", default=False)
    return LinearAttention(
        heads=heads,
        key_heads=groups,
        key_dim=state_size,
        value_dim=width,
        conv_kernel=kernel,
        projections=(
            _matrix("input", config.hidden, inner + convolved + heads, bias=bias),
            _matrix("output", inner, config.hidden, inward=True, bias=bias),
        ),
        norm_parameters=convolved * kernel + conv_bias + 3 * heads + inner,
        state_bytes_per_sequence=state,
    )


def _matrix(
    name: str,
    inputs: int,
    outputs: int,
    *,
    inward: bool = False,
    bias: bool = False,
    tensor_class: TensorClass = "attention",
    shard: Shard = "heads",
) -> Matrix:
    return Matrix(
        name=name,
        inputs=inputs,
        outputs=outputs,
        tensor_class=tensor_class,
        shard=shard,
        cut="inputs" if inward else "outputs",
        vector=outputs if bias else 0,
    )


def dense(config: Config, *fields: str, bias: bool = False, gated: bool = True) -> DenseFeedForward:
    """Return a dense feed-forward part whose width stands in the first of the fields that is given."""
    return DenseFeedForward(intermediate=config.integer(*(fields or ("intermediate_size",))), bias=bias, gated=gated)


def mixture(
    config: Config,
    *,
    width: str = "moe_intermediate_size",
    shared: int = 0,
    router_parameters: int = 0,
    expert_bias: bool = False,
    gated: bool = True,
    latent_size: int | None = None,
) -> MixtureOfExperts:
    """Return a mixture of experts; their number goes by any of its names."""
    experts = config.integer("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    topk = config.integer("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_k", "moe_top_k")
    if topk > experts:
        raise config.refuse("num_experts_per_tok", f"is more than the {experts} experts there are")
    return MixtureOfExperts(
        experts=experts,
        topk=topk,
        intermediate=config.integer(width),
        shared_intermediate=shared,
        gated=gated,
        expert_bias=expert_bias,
        router_parameters=router_parameters,
        latent_size=latent_size,
    )


def layers_of(
    config: Config,
    attention: Callable[[int], Attention],
    feed_forward: Callable[[int], FeedForward],
    *,
    norms: int = 2,
) -> tuple[Layer, ...]:
    """Put the layers together; ``norms``: how many norms of the model's width each layer has."""
    return tuple(
        Layer(
            attention=attention(index),
            feed_forward=feed_forward(index),
            norm_parameters=norms * config.hidden,
        )
        for index in range(config.layer_count)
    )


def windows(config: Config, default: Callable[[int], int | None]) -> tuple[int | None, ...]:
    """Return the attention window of every layer: from ``layer_types`` where given, else by the family's rule."""
    types = layer_types(config, {"full_attention", "sliding_attention", "chunked_attention"})
    if types is None:
        return tuple(default(index) for index in range(config.layer_count))
    by_type = {
        "full_attention": None,
        "sliding_attention": config.optional_integer("sliding_window"),
        "chunked_attention": config.optional_integer("attention_chunk_size"),
    }
    return tuple(by_type[kind] for kind in types)


def layer_types(config: Config, known: set[str]) -> tuple[str, ...] | None:
    """Return ``layer_types``, one a layer, each of them known; ``None`` where it is not given."""
    types = config.words("layer_types")
    if types is None:
        return None
    if len(types) != config.layer_count:
        raise config.refuse("layer_types", f"has {len(types)} entries for {config.layer_count} layers")
    unknown = sorted(set(types) - known)
    if unknown:
        raise config.refuse(
            "layer_types", f"{', '.join(unknown)} not understood here; understood: {', '.join(sorted(known))}"
        )
    return types


def is_sparse(config: Config, index: int) -> bool:
    """Tell whether a Qwen layer has experts (``decoder_sparse_step``, ``mlp_only_layers``)."""
    step = config.integer("decoder_sparse_step", default=1)
    return index not in (config.numbers("mlp_only_layers") or ()) and (index + 1) % step == 0


def qwen_windows(config: Config) -> tuple[int | None, ...]:
    """Return Qwen's windows: only with ``use_sliding_window``, and only from ``max_window_layers`` on."""
    used = config.flag("use_sliding_window", default=False)
    window = config.optional_integer("sliding_window") if used else None
    first = config.integer("max_window_layers", default=28, minimum=0)
    spans = windows(config, lambda index: window if index >= first else None)
    return spans if used else (None,) * len(spans)
