"""Readers of the families whose windowed layers have widths of their own: MiMo-V2 and Step 3.5 to 3.7.

Sources: vLLM ``model_executor/models/mimo_v2_flash.py`` and ``step3p5.py``; the modelling files beside the checkpoints.
"""

from __future__ import annotations

from shardproof.instances.huggingface.config import Config
from shardproof.instances.huggingface.decoder import Decoder
from shardproof.instances.huggingface.parts import dense, head_width, layers_of, mixture
from shardproof.instances.layers import FeedForward, GroupedQueryAttention


def read_mimo_v2(config: Config) -> Decoder:
    """MiMo-V2: windowed layers with more KV heads and sinks, values narrower than keys, experts without shared ones."""
    pattern = _switches(config, "hybrid_layer_pattern")
    sparse = _switches(config, "moe_layer_freq")
    kinds = (_mimo_attention(config, FULL), _mimo_attention(config, WINDOWED))
    scored = config.word("topk_method") == "noaux_tc"
    shared = config.integer("n_shared_experts", default=0, minimum=0) * config.integer("moe_intermediate_size")

    def feed_forward(index: int) -> FeedForward:
        if not sparse[index]:
            return dense(config)
        return mixture(config, shared=shared, router_parameters=config.integer("n_routed_experts") if scored else 0)

    layers = layers_of(config, lambda index: kinds[pattern[index]], feed_forward)
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def _switches(config: Config, field: str) -> tuple[int, ...]:
    found = config.numbers(field)
    if found is None or len(found) < config.layer_count or not set(found) <= {0, 1}:
        raise config.refuse(field, f"must say 0 or 1 for each of {config.layer_count} layers")
    return found[: config.layer_count]


FULL = ("num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim", "add_full_attention_sink_bias")
WINDOWED = (
    "swa_num_attention_heads", "swa_num_key_value_heads", "swa_head_dim", "swa_v_head_dim",
    "add_swa_attention_sink_bias",
)  # fmt: skip
"""Fields of a full and of a windowed layer; a windowed one without a field of its own has the full one's."""


def _mimo_attention(config: Config, fields: tuple[str, str, str, str, str]) -> GroupedQueryAttention:
    heads, groups, width, value, sink = fields
    count = config.integer(heads, FULL[0])
    return GroupedQueryAttention(
        heads=count,
        kv_heads=config.integer(groups, FULL[1]),
        head_dim=config.integer(width, FULL[2], default=head_width(config)),
        value_dim=config.integer(value, FULL[3], default=head_width(config)),
        window=config.integer("sliding_window") if fields == WINDOWED else None,
        qkv_bias=config.flag("attention_bias", default=False),
        norm_parameters=count if config.flag(sink, default=False) else 0,
    )


def read_step3(config: Config) -> Decoder:
    """Step 3.5 and 3.7: windowed layers with more query heads, a gate for each head, one shared expert."""
    types = config.words("layer_types") or tuple(
        "sliding_attention" if index % 4 else "full_attention" for index in range(config.layer_count)
    )
    if len(types) < config.layer_count or not set(types) <= {"full_attention", "sliding_attention"}:
        raise config.refuse(
            "layer_types", f"must say full_attention or sliding_attention for {config.layer_count} layers"
        )
    other = Config(fields=config.section("attention_other_setting") or {}, where=config.where)
    sparse = _step_sparse(config)
    shared = config.integer("share_expert_dim", default=0, minimum=0)
    layers = layers_of(
        config,
        lambda index: _step_attention(config, other, windowed=types[index] == "sliding_attention"),
        lambda index: (
            mixture(config, shared=shared, router_parameters=_step_scores(config)) if index in sparse else dense(config)
        ),
    )
    return Decoder(layers=layers, final_norm_parameters=config.hidden)


def _step_scores(config: Config) -> int:
    experts = config.integer("moe_num_experts", "num_experts")
    return experts if config.flag("use_moe_router_bias", default=True) else 0


def _step_sparse(config: Config) -> frozenset[int]:
    listed = config.word("moe_layers_enum")
    if listed is None:
        return frozenset(range(config.integer("first_k_dense_replace", default=1, minimum=0), config.layer_count))
    numbers = [item.strip() for item in listed.split(",")]
    if not all(item.isdigit() for item in numbers):
        raise config.refuse("moe_layers_enum", "must be layer numbers separated by commas")
    return frozenset(int(item) for item in numbers)


def _step_attention(config: Config, other: Config, *, windowed: bool) -> GroupedQueryAttention:
    heads, groups = config.integer("num_attention_heads"), config.integer("num_attention_groups", "num_key_value_heads")
    if windowed:
        heads = other.integer("num_attention_heads", default=heads)
        groups = other.integer("num_attention_groups", default=groups)
    width = head_width(config)
    return GroupedQueryAttention(
        heads=heads,
        kv_heads=groups,
        head_dim=width,
        window=config.integer("sliding_window") if windowed else None,
        head_gate=config.flag("use_head_wise_attn_gate", default=True),
        norm_parameters=2 * width,
    )
