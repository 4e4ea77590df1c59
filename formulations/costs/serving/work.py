r"""Work of one engine iteration on one device, as datasheet seconds by term.

A term is what the datasheet says one kind of work takes (bytes over memory bandwidth, FLOPs over the peak of
their dtype, message bytes over the link), or a count (layers, collectives) times one microsecond. The fitted
factors (`shardproof.formulations.costs.serving.factors`) multiply terms; an iteration takes their sum:

.. math:: t = \sum_{k} \sum_{l} e^{\theta_k} x_{k,l}

so the time of a stage is the sum of its layers, its ends and one constant per iteration. The last seven terms are
not the datasheet's but the operators' own clock (`operators`), and are zero here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import log2

from shardproof.formulations.costs.memory import (
    expert_bytes,
    head_bytes,
    kv_bytes_per_request,
    kv_bytes_read,
    layer_weight_bytes,
)
from shardproof.formulations.costs.sharding import attention_parts, cut, kv_heads_of, slots_per_rank
from shardproof.instances.hardware import Device
from shardproof.instances.layers import (
    CompressedAttention,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    LinearAttention,
    MixtureOfExperts,
)
from shardproof.instances.model import BITS, Model
from shardproof.instances.option import Option

MICROSECOND = 1e-6
ELEMENTWISE_BYTES = 24

TERMS = (
    "weights",
    "experts",
    "kv",
    "state",
    "gemm",
    "grouped",
    "attention",
    "message",
    "hops",
    "collectives",
    "dp_collectives",
    "layers",
    "moe_layers",
    "linear_layers",
    "sparse_layers",
    "latent_layers",
    "quantised_layers",
    "expert_skew",
    "grouped_skew",
    "elementwise",
    "tokens",
    "sequences",
    "step",
    "matrices",
    "expert_matrices",
    "scores",
    "recurrence",
    "norms",
    "reductions",
    "exchanges",
)
PLACE = {name: index for index, name in enumerate(TERMS)}
READ = ("weights", "experts", "kv", "state")


@dataclass(frozen=True)
class Load:
    """One iteration of one attention replica: new tokens, sequences, and tokens that each attends to.

    ``logits``: rows of the LM head (one per sequence in decode, one per finished prompt in prefill).
    """

    tokens: float
    sequences: float
    context: float
    prefill: bool = False
    logits: float = 1.0


Terms = list[float]


def empty() -> Terms:
    """No work."""
    return [0.0] * len(TERMS)


def layer_terms(model: Model, layer: Layer, device: Device, option: Option, load: Load) -> Terms:
    """Work of one layer, seconds by term."""
    found, model = empty(), model.stored_as(layer)
    _attention(found, model, layer, device, option, load)
    _feed_forward(found, model, layer, device, option, load)
    _collectives(found, model, layer, device, option, load)
    found[PLACE["layers"]] = MICROSECOND
    quantised = BITS[model.formats.attention.dtype] < 16 or BITS[model.formats.experts.dtype] < 16
    found[PLACE["quantised_layers"]] = MICROSECOND if quantised else 0.0
    found[PLACE["elementwise"]] = load.tokens * model.hidden * ELEMENTWISE_BYTES / float(device.memory_bandwidth)
    return found


def end_terms(model: Model, device: Device, option: Option, load: Load) -> Terms:
    """Work of head and sampler, and what one iteration costs whatever it does, seconds by term."""
    found = empty()
    head = model.vocab * model.hidden / option.attn_tp
    stored = model.formats.embedding if model.tied else model.formats.head
    found[PLACE["weights"]] = head_bytes(model, option) / float(device.memory_bandwidth)
    found[PLACE["gemm"]] = 2 * head * load.logits / peak(device, stored.dtype)
    found[PLACE["step"]] = 1e-3
    found[PLACE["tokens"]] = load.tokens * MICROSECOND
    found[PLACE["sequences"]] = load.sequences * MICROSECOND
    return found


def iteration_terms(model: Model, device: Device, option: Option, load: Load) -> Terms:
    """Work of a whole iteration through all layers, seconds by term."""
    total = end_terms(model, device, option, load)
    for kind, count in Counter(model.layer_kinds).items():
        for index, value in enumerate(layer_terms(model, model.kinds[kind], device, option, load)):
            total[index] += count * value
    return total


def peak(device: Device, dtype: str) -> float:
    """Dense FLOP/s for operands stored in a dtype."""
    return float(device.peak_flops[device.compute_dtype(dtype)])


def least_seconds(terms: Terms, *, prefill: bool) -> float:
    """Seconds that no device undercuts: FLOPs at the peak, and in decode all bytes that must come from memory.

    The weights that a prompt's prefill needs are read by the decode beside it.
    """
    computed = terms[PLACE["gemm"]] + terms[PLACE["grouped"]] + terms[PLACE["attention"]]
    return computed if prefill else max(computed, sum(terms[PLACE[name]] for name in READ))


def _attention(found: Terms, model: Model, layer: Layer, device: Device, option: Option, load: Load) -> None:
    attention, bandwidth = layer.attention, float(device.memory_bandwidth)
    heads, stored = kv_heads_of(attention), model.formats.attention
    elements = sum(
        cut(matrix, attention_parts(matrix, heads, option.attn_tp)).elements
        for matrix in attention.matrices(model.hidden)
    )
    found[PLACE["gemm"]] += 2 * elements * load.tokens / peak(device, stored.dtype)
    if isinstance(attention, LinearAttention):
        found[PLACE["linear_layers"]] = MICROSECOND
        state = attention.state_bytes_per_sequence / option.attn_tp
        written = 1 if load.prefill else load.tokens / load.sequences
        found[PLACE["state"]] = load.sequences * (1 + written) * state / bandwidth
        return
    if not isinstance(attention, GroupedQueryAttention | LatentAttention | CompressedAttention):
        return
    span = _span(attention, load)
    selecting = 1 if load.prefill or not _selects(attention) else load.tokens / load.sequences
    cached = _cache_read(model, layer, option, span, load.context)
    found[PLACE["kv"]] = load.sequences * selecting * cached / bandwidth
    if not isinstance(attention, GroupedQueryAttention):
        found[PLACE["latent_layers"]] = MICROSECOND
    width = _score_width(attention, load)
    flops = 4 * attention.heads / option.attn_tp * width * load.tokens * span
    found[PLACE["attention"]] = flops / peak(device, "bf16")
    if _selects(attention):
        found[PLACE["sparse_layers"]] = MICROSECOND


def _selects(attention: GroupedQueryAttention | LatentAttention | CompressedAttention) -> bool:
    """Whether an indexer selects what a query attends to."""
    if isinstance(attention, CompressedAttention):
        return attention.selected_entries is not None
    return attention.selected_tokens is not None


def _span(attention: GroupedQueryAttention | LatentAttention | CompressedAttention, load: Load) -> float:
    """Tokens that one new token attends to: a window, or what an indexer selects, where there is one."""
    if isinstance(attention, CompressedAttention):
        return attention.attended(round(load.context))
    widest = attention.span if isinstance(attention, GroupedQueryAttention) else attention.selected_tokens
    return load.context if widest is None else min(load.context, widest)


def _cache_read(model: Model, layer: Layer, option: Option, span: float, context: float) -> float:
    """Bytes of the cache that one new token reads: of the tokens it attends to, and an indexer's keys of all."""
    if isinstance(layer.attention, CompressedAttention):
        kept, keys = layer.attention.entry_bytes(model.kv_dtype), layer.attention.index_entry_bytes
        return span * kept + layer.attention.entries(round(context)) * keys
    whole = kv_bytes_per_request(model, layer, option, 1)
    chosen = kv_bytes_read(model, layer, option, 1, queries=1)
    return span * chosen + context * (whole - chosen)


def _score_width(attention: GroupedQueryAttention | LatentAttention | CompressedAttention, load: Load) -> float:
    if isinstance(attention, GroupedQueryAttention | CompressedAttention):
        return attention.head_dim
    if load.prefill:
        return (attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim) / 2
    return attention.kv_lora_rank + attention.qk_rope_head_dim / 2


def _feed_forward(found: Terms, model: Model, layer: Layer, device: Device, option: Option, load: Load) -> None:
    ffn, bandwidth = layer.feed_forward, float(device.memory_bandwidth)
    weights = float(layer_weight_bytes(model, layer, option))
    dense = sum(matrix.parameters for matrix in ffn.matrices(model.hidden)) / option.attn_tp
    found[PLACE["gemm"]] += 2 * dense * load.tokens / peak(device, model.formats.dense_ffn.dtype)
    if isinstance(ffn, MixtureOfExperts):
        held = slots_per_rank(ffn, option)
        one = expert_bytes(model, ffn, option)
        weights -= held * one
        everyone = load.tokens * option.attn_dp
        touched = held * (1 - (1 - min(1.0, ffn.topk / ffn.experts)) ** everyone)
        parameters = sum(matrix.parameters for matrix in ffn.expert_matrices(model.hidden))
        flops = 2 * parameters * everyone * ffn.topk / option.gpus
        found[PLACE["experts"]] = touched * one / bandwidth
        found[PLACE["grouped"]] = flops / peak(device, model.formats.experts.dtype)
        found[PLACE["moe_layers"]] = MICROSECOND
        skew = log2(option.moe_ep)
        found[PLACE["expert_skew"]] = skew * found[PLACE["experts"]]
        found[PLACE["grouped_skew"]] = skew * found[PLACE["grouped"]]
    found[PLACE["weights"]] += weights / bandwidth


def _collectives(found: Terms, model: Model, layer: Layer, device: Device, option: Option, load: Load) -> None:
    width, link = load.tokens * model.hidden, float(device.scale_up.bandwidth)
    if option.attn_tp > 1:
        ranks = option.attn_tp
        found[PLACE["message"]] += 4 * width * (ranks - 1) / ranks / link
        found[PLACE["hops"]] += log2(ranks) * MICROSECOND
        found[PLACE["collectives"]] += MICROSECOND
    if option.gpus > 1:
        found[PLACE["message"]] += _feed_forward_message(layer, option, width) / link
        found[PLACE["hops"]] += log2(option.gpus) * MICROSECOND
        found[PLACE["collectives"]] += MICROSECOND
        found[PLACE["dp_collectives"]] += MICROSECOND if option.attn_dp > 1 else 0.0


def _feed_forward_message(layer: Layer, option: Option, width: float) -> float:
    """Bytes that one device sends for the feed-forward part of a layer."""
    ffn = layer.feed_forward
    if isinstance(ffn, MixtureOfExperts) and option.attn_dp > 1:
        if option.moe_ep > 1:
            return 3 * width * min(ffn.topk, option.moe_ep) * (option.moe_ep - 1) / option.moe_ep
        return 4 * width * option.attn_dp
    return 4 * width * (option.gpus - 1) / option.gpus
