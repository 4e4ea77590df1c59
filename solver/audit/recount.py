"""Bytes and FLOPs counted anew from the model's matrices, under the assumptions of usual mistakes.

With no assumption the counts are those of DESIGN terms: weights of every matrix in the stated dtype, KV of
every resident request at full length, 2 FLOPs per active parameter, causal attention. Each name in
``assume`` (see `shardproof.solver.audit.mistakes`) changes one step of the count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shardproof.instances.formats import TensorFormat
from shardproof.instances.layers import (
    CompressedAttention,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    LinearAttention,
    Matrix,
    MixtureOfExperts,
)
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.solver.documents.values import BYTES_PER_ELEMENT

Assume = frozenset[str]
NOTHING: Assume = frozenset()
WHOLE = Option(1, 1, 1, 1)
WEIGHT_MISTAKES = frozenset(
    (
        "tensor-parallel-ignored",
        "attention-as-four-hidden-squared",
        "gate-matrix-forgotten",
        "experts-not-divided",
        "active-instead-of-total-parameters",
        "two-bytes-per-weight",
        "one-byte-per-weight",
    )
)
KV_MISTAKES = frozenset(
    (
        "two-bytes-per-kv-element",
        "one-byte-per-kv-element",
        "tensor-parallel-ignored",
        "sliding-window-ignored",
        "all-heads-instead-of-kv-heads",
        "kv-heads-divided-beyond-one",
        "keys-without-values",
        "all-heads-instead-of-latent",
        "latent-kv-divided-by-tp",
    )
)
SCORE_MISTAKES = frozenset(("full-instead-of-causal-attention",))
"""The mistakes that each count reads; sums are kept by them."""


def stored_size(stored: TensorFormat) -> float:
    """Bytes of one element as it is stored, its share of the quantisation scales included."""
    scales = stored.scale_bits / (stored.block[0] * stored.block[1]) if stored.block else 0.0
    return (stored.bits + scales) / 8


@dataclass(frozen=True)
class Recount:
    """Counts of one model under one option; ``weight_bytes`` and ``kv_dtype`` as the document states them."""

    model: Model
    weight_bytes: float
    kv_dtype: str
    option: Option = WHOLE
    by_class: bool = False
    _known: dict[tuple[object, ...], float] = field(default_factory=dict, compare=False, repr=False)

    # weights

    def layer_weights(self, kind: str, assume: Assume = NOTHING) -> float:
        """Weights of one layer on one device, bytes."""
        layer = self.model.kinds[kind]
        tp = 1 if "tensor-parallel-ignored" in assume else self.option.attn_tp
        total = self._attention(layer, assume, tp)
        total += self._bytes(layer.norm_parameters + layer.attention.norm_parameters, "norms", assume)
        for matrix in layer.feed_forward.matrices(self.model.hidden):
            total += self._bytes((self._gated(matrix, assume)) / (tp), matrix.tensor_class, assume)
        experts = layer.feed_forward
        if isinstance(experts, MixtureOfExperts):
            total += self._bytes(experts.router(self.model.hidden).parameters, "router", assume)
            total += self._experts(experts, assume)
        return total

    def _attention(self, layer: Layer, assume: Assume, tp: int) -> float:
        hidden = self.model.hidden
        if "attention-as-four-hidden-squared" in assume and not isinstance(layer.attention, LinearAttention):
            return self._bytes((4 * hidden * hidden) / (tp), "attention", assume)
        kv = layer.attention.kv_heads if isinstance(layer.attention, GroupedQueryAttention) else tp
        total = 0.0
        for matrix in layer.attention.matrices(hidden):
            parts = {"none": 1, "kv_heads": min(tp, kv)}.get(matrix.shard, tp)
            total += self._bytes((matrix.parameters) / (parts), "attention", assume)
        return total

    def _experts(self, experts: MixtureOfExperts, assume: Assume) -> float:
        one = sum(self._gated(matrix, assume) for matrix in experts.expert_matrices(self.model.hidden))
        count = experts.experts
        if "active-instead-of-total-parameters" in assume:
            count = min(experts.topk, count)
        parts = 1 if "experts-not-divided" in assume else self.option.moe_ep * self.option.moe_tp
        return self._bytes((one * count) / (parts), "experts", assume)

    def _gated(self, matrix: Matrix, assume: Assume) -> int:
        forgotten = "gate-matrix-forgotten" in assume and matrix.name.endswith("gate")
        return 0 if forgotten else matrix.parameters

    def _bytes(self, elements: float, tensor_class: str, assume: Assume) -> float:
        size = self.weight_bytes
        if self.by_class:
            size = stored_size(self.model.formats.of(tensor_class))  # type: ignore[arg-type]
        if "two-bytes-per-weight" in assume:
            size = 2.0
        if "one-byte-per-weight" in assume:
            size = 1.0
        return elements * size

    def end_weights(self, *, first: bool, last: bool, assume: Assume = NOTHING) -> float:
        """Embedding (first stage) and LM head (last stage) on one device, bytes."""
        key = ("ends", first, last, assume & WEIGHT_MISTAKES)
        if key not in self._known:
            table = (self.model.vocab * self.model.hidden) / (self.option.attn_tp)
            total = self._bytes(table, "embedding", assume) if first else 0.0
            tied_here = self.model.tied and first
            self._known[key] = total + (self._bytes(table, "head", assume) if last and not tied_here else 0)
        return self._known[key]

    def weights(self, kinds: Sequence[str], assume: Assume = NOTHING) -> float:
        """Weights of some layers on one device, bytes."""
        if "weights-of-all-layers-on-every-stage" in assume:
            kinds = self.model.layer_kinds
        return self._summed("weights", kinds, assume & WEIGHT_MISTAKES, lambda kind: self.layer_weights(kind, assume))

    # KV cache

    def layer_kv(self, kind: str, tokens: int, assume: Assume = NOTHING) -> float:
        """KV cache of one request in one layer on one device, bytes."""
        attention = self.model.kinds[kind].attention
        size = float(BYTES_PER_ELEMENT[self.kv_dtype])
        if "two-bytes-per-kv-element" in assume:
            size = 2.0
        if "one-byte-per-kv-element" in assume:
            size = 1.0
        tp = 1 if "tensor-parallel-ignored" in assume else self.option.attn_tp
        if isinstance(attention, GroupedQueryAttention):
            seen = tokens
            if attention.window is not None and "sliding-window-ignored" not in assume:
                seen = min(tokens, attention.window)
            heads = float(max(1, -(-attention.kv_heads // tp)))
            if "all-heads-instead-of-kv-heads" in assume:
                heads = (attention.heads) / (tp)
            if "kv-heads-divided-beyond-one" in assume:
                heads = (attention.kv_heads) / (tp)
            both = 1 if "keys-without-values" in assume else 2
            return both * heads * attention.head_dim * seen * size
        if isinstance(attention, LatentAttention):
            if "all-heads-instead-of-latent" in assume:
                width = attention.heads * (
                    attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim
                )
                return (width) / (tp) * tokens * size
            share = self.option.attn_tp if "latent-kv-divided-by-tp" in assume else 1
            return (attention.kv_lora_rank + attention.qk_rope_head_dim) / (share) * tokens * size
        if isinstance(attention, CompressedAttention):
            entry = attention.head_dim * size if size != 1.0 else float(attention.entry_bytes("fp8"))
            entries = -(-tokens // attention.ratio) if attention.ratio else 0
            states = attention.state_rows * (attention.state_row_bytes + attention.index_state_row_bytes)
            return (entries + min(tokens, attention.window)) * entry + entries * attention.index_entry_bytes + states
        if isinstance(attention, LinearAttention) and tokens > 1:
            return (attention.state_bytes_per_sequence) / (tp)
        return 0.0

    def kv(self, kinds: Sequence[str], *, requests: int, tokens: int, prompt: int, assume: Assume = NOTHING) -> float:
        """KV cache of ``requests`` of ``tokens`` each on one device, bytes."""
        if "kv-of-all-layers-on-every-stage" in assume:
            kinds = self.model.layer_kinds
        if "output-tokens-not-in-kv-cache" in assume:
            tokens = prompt
        if "one-request-instead-of-the-batch" in assume:
            requests = 1
        per_rank = float(requests) if "attention-dp-ignored" in assume else float(-(-requests // self.option.attn_dp))
        each = self._summed(
            f"kv {tokens}", kinds, assume & KV_MISTAKES, lambda kind: self.layer_kv(kind, tokens, assume)
        )
        return per_rank * each

    # work

    def linear_flops(self, *, batch: int, tokens: int, assume: Assume = NOTHING) -> float:
        """FLOPs of all linear layers for ``batch`` prompts of ``tokens``; the head once per prompt."""
        ends = self.model.vocab * self.model.hidden * (1 if self.model.tied else 2)
        if "total-instead-of-active-parameters" in assume:
            return float(2 * self.model.parameters * batch * tokens)
        body = self.model.active_parameters - ends - self.model.final_norm_parameters
        if "head-for-every-prompt-token" in assume:
            return float(2 * (body + self.model.vocab * self.model.hidden) * batch * tokens)
        return float(2 * batch * (body * tokens + self.model.vocab * self.model.hidden))

    def attention_flops(self, *, batch: int, tokens: int, assume: Assume = NOTHING) -> float:
        """FLOPs of attention scores and their values for ``batch`` prompts."""
        full = "full-instead-of-causal-attention" in assume

        def one(kind: str) -> float:
            attention = self.model.kinds[kind].attention
            if isinstance(attention, GroupedQueryAttention):
                window = tokens if attention.window is None else min(tokens, attention.window)
                pairs = tokens * tokens if full else window * (window + 1) // 2 + (tokens - window) * window
                return float(4 * attention.heads * attention.head_dim * pairs)
            if isinstance(attention, LatentAttention):
                width = attention.qk_nope_head_dim + attention.qk_rope_head_dim + attention.v_head_dim
                pairs = tokens * tokens if full else tokens * (tokens + 1) // 2
                return float(2 * attention.heads * width * pairs)
            if isinstance(attention, CompressedAttention):
                window = min(tokens, attention.window)
                pairs = tokens * tokens if full else window * (window + 1) // 2 + (tokens - window) * window
                every = tokens * (tokens + 1) // 2 // attention.ratio if attention.ratio else 0
                chosen = attention.selected_entries
                entries = every if chosen is None else min(every, tokens * chosen)
                return float(4 * attention.heads * attention.head_dim * (pairs + entries))
            return 0.0

        return batch * self._summed(f"scores {tokens}", self.model.layer_kinds, assume & SCORE_MISTAKES, one)

    def _summed(self, name: str, kinds: Sequence[str], assume: Assume, one: Callable[[str], float]) -> float:
        """Sum over layers, each kind counted once and each sum kept."""
        key = (name, len(kinds), hash(tuple(kinds)), assume)
        if key not in self._known:
            counts = Counter(kinds)
            self._known[key] = sum((one(kind) * count for kind, count in counts.items()), 0.0)
        return self._known[key]
