"""What a model and a device are, in one line each: what fitted factors are keyed by, whatever they are called.

Two models of one architecture have the same layers (attention and feed-forward sizes, and how many of each); their
vocabulary, precision, norms, biases and names may differ. Two devices are the same where architecture, memory
bandwidth and 16-bit peak are.
"""

from __future__ import annotations

from collections import Counter

from shardproof.instances.hardware import Device
from shardproof.instances.layers import (
    Attention,
    CompressedAttention,
    DenseFeedForward,
    FeedForward,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
)
from shardproof.instances.model import Model


def architecture_of(model: Model) -> str:
    """Sign a model's layers, for example ``4096: 32 gqa32/8x128 ffn14336``."""
    counts: Counter[str] = Counter()
    for kind, count in Counter(model.layer_kinds).items():
        layer = model.kinds[kind]
        parts = (_attention(layer.attention), _feed_forward(layer.feed_forward))
        counts[" ".join(part for part in parts if part)] += count
    return f"{model.hidden}: " + ", ".join(f"{count} {text}" for text, count in sorted(counts.items()))


def _attention(attention: Attention) -> str:
    if isinstance(attention, GroupedQueryAttention):
        window = f"w{attention.window}" if attention.window else ""
        selected = f"s{attention.selected_tokens}" if attention.selected_tokens else ""
        return f"gqa{attention.heads}/{attention.kv_heads}x{attention.head_dim}{window}{selected}"
    if isinstance(attention, LatentAttention):
        selected = f"s{attention.selected_tokens}" if attention.selected_tokens else ""
        ranks = f"{attention.q_lora_rank}/{attention.kv_lora_rank}"
        sizes = f"{attention.qk_nope_head_dim}/{attention.qk_rope_head_dim}/{attention.v_head_dim}"
        return f"mla{attention.heads} {ranks}/{sizes}{selected}"
    if isinstance(attention, CompressedAttention):
        ranks = f"{attention.q_lora_rank}/{attention.output_groups}x{attention.output_rank}"
        return f"compressed{attention.heads}x{attention.head_dim} {ranks} w{attention.window}r{attention.ratio}"
    if isinstance(attention, LinearAttention):
        return f"linear{attention.heads}/{attention.key_heads}x{attention.key_dim}/{attention.value_dim}"
    return ""


def _feed_forward(ffn: FeedForward) -> str:
    if isinstance(ffn, MixtureOfExperts):
        beside = ffn.shared_intermediate + ffn.dense_intermediate
        return f"moe{ffn.topk}/{ffn.experts}x{ffn.intermediate}" + (f"+{beside}" if beside else "")
    if isinstance(ffn, DenseFeedForward):
        return f"ffn{ffn.intermediate}"
    return ""


def device_key(device: Device) -> str:
    """Sign a device, for example ``Hopper 3.35 TB/s 989 TFLOP/s``."""
    peak = device.peak_flops.get("bf16") or max(device.peak_flops.values())
    return f"{device.architecture} {float(device.memory_bandwidth) / 1e12:.3g} TB/s {float(peak) / 1e12:.4g} TFLOP/s"
