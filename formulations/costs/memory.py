r"""memory: bytes that a stage keeps on its fullest device, by part, exact.

weights      every matrix cut by the option, quantisation scales included; experts / moe_ep / moe_tp
kv_cache     per layer and resident request: GQA ``2 * max(1, kv_heads / attn_tp) * head_dim`` elements a
             token, no more tokens than the window; MLA ``kv_lora_rank + rope_dim`` elements a token on every
             rank, and the keys of its indexer if it has one; linear attention one recurrent state, cut by heads
activations  workspace of one microbatch: residual and normed stream, and the widest of attention,
             feed-forward and expert intermediates, of any layer kind of the model
buffers      two messages of a collective, and what a stage receives from the one before it
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from shardproof.formulations.costs import compressed
from shardproof.formulations.costs.sharding import (
    attention_matrices,
    attention_parts,
    cut,
    dense_matrices,
    divide_up,
    element_bytes,
    expert_matrices,
    kv_heads_of,
    router_matrix,
    slots_per_rank,
    stored_bytes,
    vocabulary_matrix,
)
from shardproof.instances.layers import (
    Attention,
    CompressedAttention,
    DenseFeedForward,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    LinearAttention,
    MixtureOfExperts,
)
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.units import ceiling


def layer_weight_bytes(model: Model, layer: Layer, option: Option) -> int:
    """Weights of one layer on one device, bytes."""
    model = model.stored_as(layer)
    heads = kv_heads_of(layer.attention)
    dense = (*attention_matrices(layer.attention, model.hidden), *dense_matrices(layer.feed_forward, model.hidden))
    total = sum(
        stored_bytes(
            cut(matrix, attention_parts(matrix, heads, option.attn_tp)),
            model.formats.of_matrix(matrix.tensor_class, matrix.name),
        )
        for matrix in dense
    )
    norms = layer.norm_parameters + layer.attention.norm_parameters
    total += element_bytes(norms, model.formats.norms.dtype)
    if isinstance(layer.feed_forward, MixtureOfExperts):
        total += router_bytes(model, layer.feed_forward)
        total += slots_per_rank(layer.feed_forward, option) * expert_bytes(model, layer.feed_forward, option)
    return total


def router_bytes(model: Model, experts: MixtureOfExperts) -> int:
    """The router of one layer, whole on every device, bytes."""
    return stored_bytes(cut(router_matrix(experts, model.hidden), 1), model.formats.router)


def expert_bytes(model: Model, experts: MixtureOfExperts, option: Option) -> int:
    """One routed expert's part on one of its moe_tp ranks, bytes."""
    return sum(
        stored_bytes(cut(matrix, option.moe_tp), model.formats.experts)
        for matrix in expert_matrices(experts, model.hidden)
    )


def embedding_bytes(model: Model, option: Option) -> int:
    """Embedding table on the first stage, cut over attn_tp; unused towers come with it whole, bytes."""
    extra = element_bytes(model.extra_parameters, "bf16")
    return extra + stored_bytes(
        cut(vocabulary_matrix(model.vocab, model.hidden, "embedding"), option.attn_tp), model.formats.embedding
    )


def head_bytes(model: Model, option: Option) -> int:
    """LM head and final norm on the last stage, bytes; a tied head is stored as the embedding is."""
    stored = model.formats.embedding if model.tied else model.formats.head
    norm = element_bytes(model.final_norm_parameters, model.formats.norms.dtype)
    return norm + stored_bytes(cut(vocabulary_matrix(model.vocab, model.hidden, "embedding"), option.attn_tp), stored)


def kv_bytes_per_request(model: Model, layer: Layer, option: Option, tokens: int) -> int:
    """KV cache (or recurrent state) of one request of ``tokens`` tokens in one layer on one device, bytes."""
    attention = layer.attention
    if isinstance(attention, GroupedQueryAttention):
        seen = tokens if attention.window is None else min(tokens, attention.window)
        heads = max(1, divide_up(attention.kv_heads, option.attn_tp))
        cached = element_bytes(2 * heads * attention.head_dim * seen, model.kv_dtype)
        return cached + attention.index_bytes_per_token * seen
    if isinstance(attention, LatentAttention):
        width = attention.kv_lora_rank + attention.qk_rope_head_dim
        return element_bytes(width * tokens, model.kv_dtype) + attention.index_bytes_per_token * tokens
    if isinstance(attention, CompressedAttention):
        return compressed.cache_bytes(attention, tokens, model.kv_dtype)
    if isinstance(attention, LinearAttention):
        return divide_up(attention.state_bytes_per_sequence, option.attn_tp)
    return 0


def kv_bytes_read(model: Model, layer: Layer, option: Option, tokens: int, *, queries: int) -> int:
    """KV cache that ``queries`` tokens of one request read: all of it, or what an indexer selects for each, bytes."""
    attention = layer.attention
    if isinstance(attention, CompressedAttention):
        return compressed.cache_bytes_read(attention, tokens, model.kv_dtype, queries=queries)
    if isinstance(attention, GroupedQueryAttention) and attention.selected_tokens is not None:
        heads = max(1, divide_up(attention.kv_heads, option.attn_tp))
        seen = min(tokens, queries * attention.selected_tokens)
        return element_bytes(2 * heads * attention.head_dim * seen, model.kv_dtype)
    if not isinstance(attention, LatentAttention) or attention.selected_tokens is None:
        return kv_bytes_per_request(model, layer, option, tokens)
    width = attention.kv_lora_rank + attention.qk_rope_head_dim
    return element_bytes(width * min(tokens, queries * attention.selected_tokens), model.kv_dtype)


def layer_kv_bytes(model: Model, layer: Layer, option: Option, *, requests: int, tokens: int) -> int:
    """KV cache of one layer on its fullest device with ``requests`` resident in the stage, bytes."""
    per_rank = divide_up(requests, option.attn_dp)
    return per_rank * kv_bytes_per_request(model, layer, option, tokens)


def workspace_bytes(model: Model, option: Option, *, requests: int, tokens: int, dtype: str) -> int:
    """Activation workspace of one microbatch of ``requests`` x ``tokens`` on one device, bytes."""
    rows = divide_up(requests, option.attn_dp) * tokens
    stream = element_bytes((1 + model.residual_streams) * rows * model.hidden, dtype)
    widest = max(
        part(layer, option, rows, model.hidden)
        for layer in model.kinds.values()
        for part in (_attention_elements, _ffn_elements)
    )
    return stream + element_bytes(widest, dtype)


def _attention_elements(layer: Layer, option: Option, rows: int, hidden: int) -> int:
    return rows * _attention_width(layer.attention, option.attn_tp, hidden)


@lru_cache(maxsize=1024)
def _attention_width(attention: Attention, attn_tp: int, hidden: int) -> int:
    """Elements of one row that a layer's attention holds at once on one device."""
    heads = kv_heads_of(attention)
    shares = ((m, cut(m, attention_parts(m, heads, attn_tp))) for m in attention_matrices(attention, hidden))
    return sum(share.outputs if matrix.cut == "outputs" else share.inputs for matrix, share in shares)


def _ffn_elements(layer: Layer, option: Option, rows: int, hidden: int) -> int:
    ffn = layer.feed_forward
    if isinstance(ffn, DenseFeedForward):
        return rows * 2 * divide_up(ffn.intermediate, option.attn_tp)
    if isinstance(ffn, MixtureOfExperts):
        shared = 2 * divide_up(ffn.shared_intermediate + ffn.dense_intermediate, option.attn_tp)
        pairs = routed_pairs(ffn, option, rows * option.attn_dp)
        return rows * shared + pairs * (hidden + 2 * divide_up(ffn.intermediate, option.moe_tp))
    return 0


def routed_pairs(experts: MixtureOfExperts, option: Option, tokens: int, imbalance: Fraction | None = None) -> int:
    """(token, expert) pairs on the most loaded of moe_ep ranks.

    ``imbalance`` is its load over the mean load of a rank; without one, loads of experts are equal and the
    rank with the most experts is the most loaded.
    """
    pairs = tokens * experts.topk
    if imbalance is None:
        return divide_up(pairs * divide_up(experts.experts, option.moe_ep), experts.experts)
    return ceiling(pairs * imbalance / option.moe_ep)


def logits_bytes(model: Model, option: Option, *, requests: int) -> int:
    """Logits of the sequences of one microbatch on the last stage, fp32, bytes."""
    return 4 * divide_up(requests, option.attn_dp) * divide_up(model.vocab, option.attn_tp)


def buffer_bytes(model: Model, option: Option, *, requests: int, tokens: int, dtype: str) -> tuple[int, int]:
    """Return (collective buffers of the stage, receive buffer of a stage after the first), bytes."""
    message = element_bytes(divide_up(requests, option.attn_dp) * tokens * model.hidden, dtype)
    return (2 * message if option.gpus > 1 else 0), model.residual_streams * message
