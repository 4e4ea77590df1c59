r"""compressed attention: what its cache takes, and what its scores do (`CompressedAttention`).

.. math:: kv(T) = \lceil T / r \rceil (e + i) + \min(T, w)\, e + s

======  ==========================  ==========  ============================================================
symbol  code                        unit        source
======  ==========================  ==========  ============================================================
r       `ratio`                     tokens      of one entry
e, i    `entry_bytes`, and `index`  bytes       of one cached vector; of the indexer's key of one entry
w       `window`                    tokens      that are kept singly
s       `state_rows` x bytes        bytes       parts of entries that are not whole yet
======  ==========================  ==========  ============================================================

Every tensor-parallel rank keeps all of it. Engines keep it in pages (vLLM: 256 tokens, windows 64, states 4 or 8,
each rounded up to 576 bytes); the tokens of an iteration in flight take pages of windows and states beside it.
"""

from __future__ import annotations

from math import isqrt

from shardproof.formulations.costs.operations import Operation, OperationKind, Shape
from shardproof.formulations.costs.pairs import prefill_pairs
from shardproof.formulations.costs.sharding import divide_up, element_bytes
from shardproof.instances.compressed import CompressedAttention
from shardproof.instances.option import Option

PAGE_TOKENS, WINDOW_TOKENS, ALIGNED = 256, 64, 576
LATENT_WIDTH = 576
"""Width of the latent attention whose measured curves stand in."""


def cache_bytes(attention: CompressedAttention, tokens: int, dtype: str) -> int:
    """Bytes of one request in one layer on a device."""
    entry = attention.entry_bytes(dtype)
    whole = attention.entries(tokens) * (entry + attention.index_entry_bytes)
    states = attention.state_rows * (attention.state_row_bytes + attention.index_state_row_bytes)
    return whole + min(tokens, attention.window) * entry + states


def cache_bytes_read(attention: CompressedAttention, tokens: int, dtype: str, *, queries: int) -> int:
    """Bytes that ``queries`` queries of one request read: the window, and all entries or those that are selected."""
    entries, selected = attention.entries(tokens), attention.selected_entries
    chosen = entries if selected is None else min(entries, queries * selected)
    window = min(tokens, attention.window + queries - 1)
    return (window + chosen) * attention.entry_bytes(dtype)


def page_bytes(attention: CompressedAttention, block: int, dtype: str) -> int:
    """Bytes of the entries of ``block`` tokens, and of their index keys, as pages."""
    entries = attention.entries(block)
    return _aligned(entries * attention.entry_bytes(dtype)) + _aligned(entries * attention.index_entry_bytes)


def resident_bytes(attention: CompressedAttention, tokens: int, block: int, dtype: str) -> int:
    """Bytes of one decoding request in pages: entries, the window, and the states of the compressors."""
    entries = divide_up(tokens, block) * page_bytes(attention, block, dtype)
    return entries + _rows(attention, min(tokens, attention.window), attention.state_rows, dtype)


def flight_bytes(attention: CompressedAttention, batched: int, dtype: str) -> int:
    """Bytes of window and state pages that the tokens of an iteration take until it is done."""
    return _rows(attention, batched, batched, dtype)


def _rows(attention: CompressedAttention, window: int, states: int, dtype: str) -> int:
    single = (divide_up(window, WINDOW_TOKENS) + 1) * _aligned(WINDOW_TOKENS * attention.entry_bytes(dtype))
    if not attention.ratio:
        return single
    size = 4 if attention.overlap else 8
    page = _aligned(size * attention.state_row_bytes) + _aligned(size * attention.index_state_row_bytes)
    return single + (divide_up(states, size) + 1) * page


def _aligned(size: int) -> int:
    return divide_up(size, ALIGNED) * ALIGNED


def score_pairs(attention: CompressedAttention, tokens: int, context: int, *, prefill: bool) -> int:
    """(query, vector) pairs of ``tokens`` queries after ``context`` tokens of one request, rounded up."""
    if not prefill:
        return tokens * max(1, attention.attended(context))
    pairs = prefill_pairs(tokens, context, attention.window)
    if not attention.ratio:
        return pairs
    entries = divide_up(prefill_pairs(tokens, context, None), attention.ratio)
    if attention.selected_entries is not None:
        entries = min(entries, tokens * attention.selected_entries)
    return pairs + entries


def score_operations(
    attention: CompressedAttention,
    option: Option,
    *,
    sequences: int,
    tokens: int,
    context: int,
    prefill: bool,
    dtype: str,
    kv_dtype: str,
    weights: str,
) -> tuple[Operation, ...]:
    """Operations of the scores of one layer; measured curves are asked at the prompt with as many pairs."""
    heads = divide_up(attention.heads, option.attn_tp)
    pairs = score_pairs(attention, tokens, context, prefill=prefill)
    cached = sequences * cache_bytes_read(attention, context + tokens, kv_dtype, queries=tokens)
    main = _operation(
        flops=4 * heads * attention.head_dim * sequences * pairs,
        moved=element_bytes(2 * sequences * tokens * heads * attention.head_dim, dtype) + cached,
        cached=cached,
        dtypes=(weights, kv_dtype),
        shape=_shape(sequences, pairs, attention.attended(context), prefill=prefill, heads=heads, width=LATENT_WIDTH),
        prefill=prefill,
    )
    if not attention.index_heads:
        return (main,)
    index = _index_operation(
        attention, sequences=sequences, tokens=tokens, context=context, prefill=prefill, dtype=dtype
    )
    return main, index


def _index_operation(
    attention: CompressedAttention, *, sequences: int, tokens: int, context: int, prefill: bool, dtype: str
) -> Operation:
    """Score every compressed entry with the indexer, which each rank runs whole."""
    seen = prefill_pairs(tokens, context, None) if prefill else tokens * max(1, context)
    indexed = divide_up(seen, attention.ratio)
    width = attention.index_heads * attention.index_head_dim
    keys = sequences * attention.entries(context + tokens) * attention.index_entry_bytes
    entries = attention.entries(context)
    shape = _shape(
        sequences, indexed, entries, prefill=prefill, heads=attention.index_heads, width=attention.index_head_dim
    )
    return _operation(
        flops=2 * sequences * indexed * width,
        moved=element_bytes(sequences * tokens * width, dtype) + keys,
        cached=keys,
        dtypes=("fp8", "fp8"),
        shape=shape,
        prefill=prefill,
    )


def _shape(sequences: int, pairs: int, span: int, *, prefill: bool, heads: int, width: int) -> Shape:
    length = isqrt(2 * pairs) + 1
    query, context = (length, length) if prefill else (1, max(1, span))
    return Shape(batch=sequences, query=query, context=context, heads=heads, kv_heads=1, head_dim=width)


def _operation(
    *, flops: int, moved: int, cached: int, dtypes: tuple[str, str], shape: Shape, prefill: bool
) -> Operation:
    kind: OperationKind = "attention_prefill" if prefill else "attention_decode"
    return Operation(
        name="attention scores",
        kind=kind,
        flops=flops,
        moved_bytes=moved,
        resident_bytes=0 if prefill else cached,
        dtype=dtypes[0],
        kv_dtype=dtypes[1],
        shape=shape,
    )
