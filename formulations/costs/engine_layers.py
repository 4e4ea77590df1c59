"""What engines keep beside a checkpoint's own layers: absorbed projections, padding, rotary tables, workspaces."""

from __future__ import annotations

from math import ceil

from shardproof.formulations.costs.engine_profiles import MemoryProfile
from shardproof.formulations.costs.sharding import divide_up, element_bytes, slots_per_rank
from shardproof.instances.layers import (
    Attention,
    CompressedAttention,
    GroupedQueryAttention,
    LatentAttention,
    MixtureOfExperts,
)
from shardproof.instances.model import LayerRun, Model
from shardproof.instances.option import Option

KERNEL_TILE = 256


def with_layers(model: Model, behind: Model) -> Model:
    """Return a model with the layers of another one behind its own, for what only counts their caches."""
    named = {name: f"behind: {name}" for name in behind.kinds}
    kinds = {**model.kinds, **{named[name]: layer for name, layer in behind.kinds.items()}}
    order = (*model.layer_kinds, *(named[kind] for kind in behind.layer_kinds))
    fields = {name: getattr(model, name) for name in Model.model_fields}
    return Model(**{**fields, "kinds": kinds, "runs": (LayerRun(pattern=order),)})


def absorbed_bytes(attention: Attention, option: Option) -> int:
    """Up-projections of latent attention that decode keeps beside the originals, bf16, bytes."""
    if not isinstance(attention, LatentAttention):
        return 0
    heads = divide_up(attention.heads, option.attn_tp)
    return element_bytes(heads * attention.kv_lora_rank * (attention.qk_nope_head_dim + attention.v_head_dim), "bf16")


def expert_padding(model: Model, experts: MixtureOfExperts, option: Option, profile: MemoryProfile) -> int:
    """Bytes by which MXFP4 experts are padded to the tiles of their kernels."""
    if model.formats.experts.dtype != "mxfp4" or experts.intermediate % KERNEL_TILE == 0:
        return 0
    held = sum(matrix.parameters for matrix in experts.expert_matrices(model.hidden)) * slots_per_rank(experts, option)
    share = profile.mxfp4_expert_padding
    if option.moe_tp > 1:
        share += (_padded(experts.intermediate / option.moe_tp, KERNEL_TILE) - 1.0) * 0.5
    return round(share * element_bytes(divide_up(held, option.moe_tp), "mxfp4") * 17 / 16)


def _padded(width: float, multiple: int) -> float:
    return ceil(width / multiple) * multiple / width


def rotary_bytes(model: Model) -> int:
    """Cosine and sine tables of the rotary embedding, bf16, one per distinct base, bytes."""
    widths = set()
    for layer in model.kinds.values():
        attention = layer.attention
        if isinstance(attention, GroupedQueryAttention):
            widths.add((attention.head_dim, attention.window is not None and attention.window == 1024))
        elif isinstance(attention, LatentAttention):
            widths.add((attention.qk_rope_head_dim, False))
        elif isinstance(attention, CompressedAttention):
            widths.add((attention.rope_head_dim, attention.ratio > 0))
    return sum(element_bytes(model.max_position * width, "bf16") for width, _ in widths)


def forward_bytes(model: Model, kind: str, option: Option, tokens: int) -> int:
    """Widest intermediate of a layer in the forward pass, bytes."""
    ffn = model.kinds[kind].feed_forward
    if isinstance(ffn, MixtureOfExperts):
        return expert_workspace(model, kind, option, tokens)
    width = getattr(ffn, "intermediate", 0)
    return element_bytes(3 * tokens * divide_up(width, option.attn_tp), "bf16")


def expert_workspace(model: Model, kind: str, option: Option, tokens: int) -> int:
    """Workspace of the fused expert kernel: first GEMM's output (or second's), and the activation, bytes."""
    ffn = model.kinds[kind].feed_forward
    if not isinstance(ffn, MixtureOfExperts) or model.formats.experts.dtype in ("mxfp4", "nvfp4"):
        return 0
    width = divide_up(ffn.intermediate, option.moe_tp)
    pairs = tokens * ffn.topk
    return element_bytes(pairs * max(2 * width, model.hidden) + pairs * width, "bf16")
