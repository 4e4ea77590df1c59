r"""compute: what one layer does on one device for one microbatch, as a list of operations.

Per token 2 FLOPs a parameter that the device holds and the token passes; attention scores
:math:`4 \cdot heads \cdot head\_dim` FLOPs a (query, key) pair, in prefill the causal half of them. Weights
are read once a microbatch, experts only as far as tokens touch them. MoE work is that of the rank with the
most experts, :math:`\lceil E / moe\_ep \rceil / E` of all (token, expert) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from shardproof.formulations.costs.compressed import score_operations
from shardproof.formulations.costs.memory import expert_bytes, kv_bytes_read, routed_pairs
from shardproof.formulations.costs.operations import Operation, Shape
from shardproof.formulations.costs.pairs import prefill_pairs
from shardproof.formulations.costs.sharding import (
    attention_matrices,
    attention_parts,
    cut,
    dense_matrices,
    dispatched,
    divide_up,
    element_bytes,
    expert_matrices,
    kv_heads_of,
    router_matrix,
    slots_per_rank,
    stored_bytes,
    touched_experts_ppm,
    vocabulary_matrix,
)
from shardproof.instances.layers import (
    CompressedAttention,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    LinearAttention,
    Matrix,
    MixtureOfExperts,
    TensorClass,
)
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.speculative import MILLION
from shardproof.instances.units import ceiling


@dataclass(frozen=True)
class Step:
    """One microbatch: ``requests`` of ``tokens`` new tokens each, after ``context`` tokens seen before.

    ``phase`` is ``prefill`` (tokens of a whole prompt, context 0, or of a chunk after its context) or ``decode``
    (one token each, and the guesses that it verifies); ``loop``: part of a closed loop, which calibrated instances time
    with factors of measured deployments. ``gives``: tokens that each request gets of it on average, millionths: its
    times are those of one token.
    """

    phase: str
    requests: int
    tokens: int
    context: int
    loop: bool = False
    gives: int = MILLION

    def rows(self, option: Option) -> int:
        """Tokens on one attention-DP rank, the fullest."""
        return divide_up(self.requests, option.attn_dp) * self.tokens

    def sequences(self, option: Option) -> int:
        """Requests on one attention-DP rank, the fullest."""
        return divide_up(self.requests, option.attn_dp)

    def logits(self, option: Option) -> int:
        """Rows of the LM head on one attention-DP rank: one for a prompt, in decode one for each token."""
        return self.rows(option) if self.phase == "decode" else self.sequences(option)

    def group_rows(self, option: Option) -> int:
        """Tokens of the whole stage, padded to equal DP ranks."""
        return self.rows(option) * option.attn_dp


def layer_operations(
    model: Model, layer: Layer, option: Option, step: Step, dtype: str, imbalance: Fraction | None = None
) -> Iterator[Operation]:
    """Operations of one layer on one device, collectives not included; ``dtype`` is that of activations.

    ``imbalance``: load of the most loaded expert-parallel rank over the mean (``None``: equal expert loads).
    """
    yield from _multiplied(model, layer, option, step, dtype)
    yield from expert_operations(model, layer, option, step, dtype, imbalance)
    yield from _norms(model, layer, option, step, dtype)


def own_operations(model: Model, layer: Layer, option: Option, step: Step, dtype: str) -> Iterator[Operation]:
    """Those of a layer's operations that depend on attn_tp and the rows of one attention replica alone."""
    yield from _multiplied(model, layer, option, step, dtype)
    yield from _norms(model, layer, option, step, dtype)


def expert_operations(
    model: Model, layer: Layer, option: Option, step: Step, dtype: str, imbalance: Fraction | None = None
) -> Iterator[Operation]:
    """Those that depend on moe_tp, moe_ep, extra slots, the tokens of the stage, and on whether replicas have others'.

    ``imbalance`` as for `layer_operations`.
    """
    if isinstance(layer.feed_forward, MixtureOfExperts):
        yield _experts(model.stored_as(layer), layer.feed_forward, option, step, dtype, imbalance)


def _multiplied(model: Model, layer: Layer, option: Option, step: Step, dtype: str) -> Iterator[Operation]:
    model, rows = model.stored_as(layer), step.rows(option)
    yield from _projections(model, layer, option, rows, dtype)
    yield from _scores(model, layer, option, step, dtype)
    yield from _dense(model, layer, option, rows, dtype)
    if isinstance(layer.feed_forward, MixtureOfExperts):
        yield _gemm(model, router_matrix(layer.feed_forward, model.hidden), 1, rows, "router", dtype)


def _norms(model: Model, layer: Layer, option: Option, step: Step, dtype: str) -> Iterator[Operation]:
    model, rows = model.stored_as(layer), step.rows(option)
    if layer.norm_parameters:
        norms = max(1, layer.norm_parameters // model.hidden) + _mixing(model)
        yield Operation(
            name="norms",
            kind="elementwise",
            moved_bytes=element_bytes(2 * norms * rows * model.hidden, dtype),
            dtype=dtype,
            shape=Shape(m=rows, n=model.hidden),
        )


def _mixing(model: Model) -> int:
    """Passes over the hidden state (one reads and writes it) that hyper-connections add to a layer.

    Before each of its two parts all streams are read and one is written; after it all are read and written again.
    """
    return 3 * model.residual_streams + 2 if model.residual_streams > 1 else 0


def _projections(model: Model, layer: Layer, option: Option, rows: int, dtype: str) -> Iterator[Operation]:
    heads = kv_heads_of(layer.attention)
    for matrix in attention_matrices(layer.attention, model.hidden):
        parts = attention_parts(matrix, heads, option.attn_tp)
        yield _gemm(model, matrix, parts, rows, "attention projections", dtype)


def _dense(model: Model, layer: Layer, option: Option, rows: int, dtype: str) -> Iterator[Operation]:
    name = "shared experts" if isinstance(layer.feed_forward, MixtureOfExperts) else "dense ffn"
    for matrix in dense_matrices(layer.feed_forward, model.hidden):
        yield _gemm(model, matrix, option.attn_tp, rows, name, dtype)


def _gemm(model: Model, matrix: Matrix, parts: int, rows: int, name: str, dtype: str) -> Operation:
    share = cut(matrix, parts)
    stored = model.formats.of_matrix(matrix.tensor_class, matrix.name)
    streams = element_bytes(rows * (share.inputs + share.outputs), dtype)
    return Operation(
        name=name,
        kind="gemm",
        flops=2 * rows * share.inputs * share.outputs,
        moved_bytes=stored_bytes(share, stored) + streams,
        resident_bytes=stored_bytes(share, stored),
        dtype=stored.dtype,
        shape=Shape(m=rows, n=share.outputs, k=share.inputs),
    )


def _scores(model: Model, layer: Layer, option: Option, step: Step, dtype: str) -> Iterator[Operation]:
    attention = layer.attention
    if isinstance(attention, LinearAttention):
        yield _recurrence(attention, option, step, dtype)
    if isinstance(attention, CompressedAttention):
        yield from score_operations(
            attention,
            option,
            sequences=step.sequences(option),
            tokens=step.tokens,
            context=step.context,
            prefill=step.phase == "prefill",
            dtype=dtype,
            kv_dtype=model.kv_dtype,
            weights=model.formats.attention.dtype,
        )
    if not isinstance(attention, GroupedQueryAttention | LatentAttention):
        return
    yield from _index_scores(attention, option, step, dtype)
    yield _pair_scores(model, layer, attention, option, step, dtype)


def _pair_scores(
    model: Model,
    layer: Layer,
    attention: GroupedQueryAttention | LatentAttention,
    option: Option,
    step: Step,
    dtype: str,
) -> Operation:
    """Score every pair of a query and a token that it sees, and mix their values; the cache is read once a sequence."""
    heads, prefill = divide_up(attention.heads, option.attn_tp), step.phase == "prefill"
    if isinstance(attention, GroupedQueryAttention):
        window, head_dim = attention.span, attention.head_dim
        kv_heads = max(1, divide_up(attention.kv_heads, option.attn_tp))
    else:
        window, head_dim, kv_heads = attention.selected_tokens, attention.kv_lora_rank + attention.qk_rope_head_dim, 1
    seen = step.context if window is None else min(step.context, window)
    pairs = prefill_pairs(step.tokens, step.context, window) if prefill else step.tokens * max(1, seen)
    sequences = step.sequences(option)
    queries = element_bytes(2 * sequences * step.tokens * heads * head_dim, dtype)
    cached = sequences * kv_bytes_read(model, layer, option, step.context + step.tokens, queries=step.tokens)
    return Operation(
        name="attention scores",
        kind="attention_prefill" if prefill else "attention_decode",
        flops=sequences * pairs * heads * _pair_flops(attention, prefill=prefill),
        moved_bytes=queries + cached,
        resident_bytes=0 if prefill else cached,
        dtype=model.formats.attention.dtype,
        kv_dtype=model.kv_dtype,
        shape=Shape(
            batch=sequences,
            query=step.tokens,
            context=step.context + (step.tokens if prefill else 0),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            window=window or 0,
        ),
    )


def _pair_flops(attention: GroupedQueryAttention | LatentAttention, *, prefill: bool) -> int:
    """FLOPs of one (query, key) pair in one head; a latent cache is expanded in prefill, absorbed in decode."""
    if isinstance(attention, GroupedQueryAttention):
        return 4 * attention.head_dim
    if prefill:
        return 2 * (attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim)
    return 2 * (2 * attention.kv_lora_rank + attention.qk_rope_head_dim)


def _index_scores(
    attention: GroupedQueryAttention | LatentAttention, option: Option, step: Step, dtype: str
) -> Iterator[Operation]:
    """Score every earlier token with the indexer, which each rank runs whole: 2 FLOPs a head, element and pair."""
    if not attention.index_heads:
        return
    sequences = step.sequences(option)
    prefill = step.phase == "prefill"
    pairs = prefill_pairs(step.tokens, step.context, None) if prefill else step.tokens * max(1, step.context)
    width = attention.index_heads * attention.index_head_dim
    cached = sequences * attention.index_bytes_per_token * (step.context + step.tokens)
    yield Operation(
        name="attention scores",
        kind="attention_prefill" if step.phase == "prefill" else "attention_decode",
        flops=2 * sequences * pairs * width,
        moved_bytes=element_bytes(sequences * step.tokens * width, dtype) + cached,
        resident_bytes=cached if step.phase == "decode" else 0,
        dtype="fp8" if isinstance(attention, LatentAttention) else dtype,
        kv_dtype="fp8" if isinstance(attention, LatentAttention) else dtype,
        shape=Shape(
            batch=sequences,
            query=step.tokens,
            context=step.context + (step.tokens if step.phase == "prefill" else 0),
            heads=attention.index_heads,
            kv_heads=1,
            head_dim=attention.index_head_dim,
        ),
    )


def _recurrence(attention: LinearAttention, option: Option, step: Step, dtype: str) -> Operation:
    heads = divide_up(attention.heads, option.attn_tp)
    rows = step.rows(option)
    state = divide_up(attention.state_bytes_per_sequence, option.attn_tp)
    streams = element_bytes(2 * rows * heads * (attention.key_dim + attention.value_dim), dtype)
    written = step.tokens if step.phase == "decode" else 1  # a state for each token: any may be the last that holds
    states = step.sequences(option) * (1 + written) * state
    return Operation(
        name="attention scores",
        kind="linear_attention",
        flops=6 * rows * heads * attention.key_dim * attention.value_dim,
        moved_bytes=states + streams,
        resident_bytes=states if step.phase == "decode" else 0,
        dtype=dtype,
        shape=Shape(batch=step.sequences(option), query=step.tokens, heads=heads, head_dim=attention.value_dim),
    )


def _experts(
    model: Model, experts: MixtureOfExperts, option: Option, step: Step, dtype: str, imbalance: Fraction | None
) -> Operation:
    tokens = step.group_rows(option)
    pairs = routed_pairs(experts, option, tokens, imbalance)
    slots = slots_per_rank(experts, option)
    shares = [cut(matrix, option.moe_tp) for matrix in expert_matrices(experts, model.hidden)]
    touched = touched_experts_ppm(experts.experts, experts.topk, tokens)
    weights = divide_up(slots * expert_bytes(model, experts, option) * touched, 10**6)
    streams = element_bytes(pairs * sum(share.inputs + share.outputs for share in shares), dtype)
    return Operation(
        name="experts",
        kind="grouped_gemm",
        flops=2 * pairs * sum(share.inputs * share.outputs for share in shares),
        moved_bytes=weights + streams,
        resident_bytes=weights,
        dtype=model.formats.experts.dtype,
        shape=Shape(
            m=tokens if imbalance is None else ceiling(tokens * imbalance),
            n=divide_up(experts.intermediate, option.moe_tp),
            k=model.hidden,
            experts=experts.experts,
            topk=experts.topk,
            ranks=option.moe_ep,
            dispatched=dispatched(experts, option, decode=step.phase == "decode"),
        ),
    )


def embedding_operation(model: Model, option: Option, step: Step, dtype: str) -> Operation:
    """Look every token up in the embedding table: rows read and written."""
    rows = step.rows(option)
    return Operation(
        name="embedding",
        kind="elementwise",
        moved_bytes=element_bytes(2 * rows * model.hidden, dtype),
        dtype=dtype,
        shape=Shape(m=rows, n=model.hidden),
    )


def head_operation(model: Model, option: Option, step: Step, dtype: str) -> Operation:
    """Run the LM head once for each finished prompt of the microbatch, or for each token that is decoded."""
    stored: TensorClass = "embedding" if model.tied else "head"
    matrix = vocabulary_matrix(model.vocab, model.hidden, stored)
    return _gemm(model, matrix, option.attn_tp, step.logits(option), "head", dtype)
