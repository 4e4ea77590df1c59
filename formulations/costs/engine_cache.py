r"""cache: how an engine's pool of blocks holds the KV cache and the states of requests.

.. math:: KV_s = D\, P\, \max_g n_{g,s}, \qquad D = \max(R\, \textstyle\sum_g p_g(T), \sum_g p_g(longest))

======  =================================  ======  =====================================================
symbol  code                               unit    source
======  =================================  ======  =====================================================
g       `CachePool.groups`                         layers of one kind of cache that share blocks
n_g,s   layers of group g on stage s
P       `CachePool.page_bytes`             bytes   one block of the layer with the largest
p_g(T)  `CachePool.pages`                  blocks  of one request of T tokens in the group
R       requests of one attention replica
======  =================================  ======  =====================================================

vLLM (v1/core/kv_cache_utils.py, since 0.10) sorts layers of a model with several kinds of cache into groups of
equal size: as many layers as the smallest kind has (or the largest kind, where they differ by less than a quarter).
A block holds one page of a layer of every group at its place, so a request takes blocks group by group, and layer k
of a kind lies in group k modulo the kind's groups. Layers of one kind of cache, whatever their widths, are one
group. A sliding window takes at most ``window - 1`` tokens and those of one iteration, and one block more
(SlidingWindowSpec.max_memory_usage_bytes); a recurrent state takes one block, to whose size the blocks of
attention are raised. Chunked attention (Llama 4) is kept whole by default (vllm/config/vllm.py).

A compressed cache (`compressed`) adds up layer by layer: entries, windows and states of every request, and what the
tokens of one iteration in flight take besides, once.

SGLang gives sliding layers a second pool of ``swa_full_tokens_ratio`` (0.8) of the tokens; TensorRT-LLM keeps the
window. In both, bytes add up layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from shardproof.formulations.costs import compressed
from shardproof.formulations.costs.memory import kv_bytes_per_request
from shardproof.formulations.costs.sharding import divide_up
from shardproof.instances.layers import CompressedAttention, GroupedQueryAttention, LinearAttention
from shardproof.instances.model import Model
from shardproof.instances.option import Option

BLOCK_TOKENS = 16
GROUPS_MERGE = 1.25


@dataclass(frozen=True)
class CacheKind:
    """What tells caches apart: a ``window`` in tokens or a recurrent ``state``; ``name`` in the model's kinds."""

    window: int | None
    state: bool
    width: int
    """Bytes of one token (or of one state) in one layer on a device that holds it whole."""


def cache_kind(model: Model, kind: str, *, windows: bool) -> CacheKind | None:
    """Return the cache of a layer kind (``None``: it keeps nothing); ``windows``: whether windows are kept short."""
    layer = model.kinds[kind]
    width = kv_bytes_per_request(model, layer, Option(1, 1, 1, 1), 1)
    if not width:
        return None
    window = None
    if windows and isinstance(layer.attention, GroupedQueryAttention) and not layer.attention.chunked:
        window = layer.attention.window
    return CacheKind(window, isinstance(layer.attention, LinearAttention), width)


@dataclass(frozen=True)
class Demand:
    """What has to be resident: ``requests`` of ``tokens`` each on one attention replica, or one ``longest``.

    ``batched``: tokens of one iteration.
    """

    requests: int
    tokens: int
    longest: int
    batched: int


@dataclass(frozen=True)
class CachePool:
    """The pool of one model under an engine; ``grouped``: vLLM's groups, else bytes add up layer by layer.

    ``windows``: whether sliding layers keep no more than their window; ``sliding_share``: the share of all
    tokens that they keep at least (numerator, denominator); ``states``: recurrent states of each request, one more for
    every guess that an iteration verifies (vLLM MambaSpec.num_speculative_blocks).
    """

    model: Model
    block: int = BLOCK_TOKENS
    grouped: bool = True
    windows: bool = True
    sliding_share: tuple[int, int] = (0, 1)
    states: int = 1

    @cached_property
    def _cells(self) -> dict[tuple[object, ...], int]:
        """Figures by what they are of and all that they depend on: of an option, its attn_tp alone."""
        return {}

    @cached_property
    def kinds(self) -> dict[str, CacheKind | None]:
        """Kind of cache of every layer kind of the model."""
        return {kind: cache_kind(self.model, kind, windows=self.windows) for kind in self.model.kinds}

    @cached_property
    def _members(self) -> dict[CacheKind, int]:
        """Layers of each kind of cache."""
        found: dict[CacheKind, int] = {}
        for kind in self.model.layer_kinds:
            held = self.kinds[kind]
            if held is not None:
                found[held] = found.get(held, 0) + 1
        return found

    @cached_property
    def is_hybrid(self) -> bool:
        """Whether layers lie in several groups."""
        return self.grouped and not self.compressed and len({(held.window, held.state) for held in self._members}) > 1

    @cached_property
    def compressed(self) -> dict[str, CompressedAttention]:
        """Layer kinds whose cache is compressed; a pool that has any adds up layer by layer."""
        kinds = self.model.kinds.items()
        return {name: kind.attention for name, kind in kinds if isinstance(kind.attention, CompressedAttention)}

    @cached_property
    def group_size(self) -> int:
        """Layers of a full group."""
        low, high = min(self._members.values()), max(self._members.values())
        return high if high < GROUPS_MERGE * low else low

    @cached_property
    def groups(self) -> tuple[CacheKind, ...]:
        """The kind of cache of every group."""
        return tuple(held for held, count in self._members.items() for _ in range(divide_up(count, self.group_size)))

    def group_of_layers(self) -> tuple[int | None, ...]:
        """Group of every layer, first to last (``None``: it keeps no cache)."""
        seen: dict[CacheKind, int] = {}
        found: list[int | None] = []
        for kind in self.model.layer_kinds:
            held = self.kinds[kind]
            if held is None:
                found.append(None)
                continue
            place = seen.get(held, 0)
            seen[held] = place + 1
            found.append(self.groups.index(held) + place % self.groups.count(held))
        return tuple(found)

    def token_bytes(self, kind: str, option: Option) -> int:
        """Bytes of one token (or of a state) of one layer on one device."""
        key = (kind, option.attn_tp)
        if key not in self._cells:
            self._cells[key] = kv_bytes_per_request(self.model, self.model.kinds[kind], option, 1)
        return self._cells[key]

    def block_bytes(self, kind: str, option: Option) -> int:
        """Bytes of one block of one layer on one device, in a pool that adds up layer by layer."""
        if kind in self.compressed:
            return compressed.page_bytes(self.compressed[kind], self.block, self.model.kv_dtype)
        return self.block * self.token_bytes(kind, option)

    def page_bytes(self, option: Option) -> int:
        """Bytes of one block of a layer: the largest of any kind of attention, and no less than a state."""
        key = ("page", option.attn_tp)
        if key not in self._cells:
            self._cells[key] = self._page_bytes(option)
        return self._cells[key]

    def _page_bytes(self, option: Option) -> int:
        attention, states = 0, 0
        for kind, held in self.kinds.items():
            if held is None:
                continue
            size = self.token_bytes(kind, option)
            attention, states = (attention, max(states, size)) if held.state else (max(attention, size), states)
        if not attention:
            return states
        return attention * self.block * max(1, divide_up(states, attention * self.block))

    def page_tokens(self, group: CacheKind, option: Option) -> int:
        """Tokens of the group's layers in one block."""
        kind = next(name for name, held in self.kinds.items() if held == group)
        return max(1, self.page_bytes(option) // self.token_bytes(kind, option))

    def smallest_page(self, option: Option) -> int:
        """Tokens of a block in the group that has fewest of them: the engine's unit of what it prints."""
        return min(self.page_tokens(group, option) for group in self.groups if not group.state)

    def pages(self, group: CacheKind, option: Option, *, tokens: int, batched: int) -> int:
        """Blocks of one request of ``tokens`` tokens in a group."""
        if group.state:
            return self.states
        size = self.page_tokens(group, option)
        whole = divide_up(tokens, size)
        if group.window is None:
            return whole
        return min(whole, divide_up(min(group.window - 1 + batched, tokens), size) + 1)

    def request_pages(self, option: Option, *, tokens: int, batched: int) -> int:
        """Blocks of one request in all groups of a hybrid pool."""
        key = ("pages", option.attn_tp, tokens, batched)
        if key not in self._cells:
            self._cells[key] = sum(self.pages(group, option, tokens=tokens, batched=batched) for group in self.groups)
        return self._cells[key]

    def demand_pages(self, option: Option, demands: Sequence[Demand]) -> int:
        """Blocks of a hybrid pool that the largest of several demands asks for."""

        def asked(demand: Demand) -> int:
            one = self.request_pages(option, tokens=demand.tokens, batched=demand.batched)
            longest = self.request_pages(option, tokens=demand.longest, batched=demand.batched)
            return max(demand.requests * one, longest)

        return max(map(asked, demands), default=0)

    def layer_bytes(self, kind: str, option: Option, *, tokens: int, batched: int) -> int:
        """Bytes of one request in one layer of a pool that is no hybrid, in whole blocks."""
        key = (kind, option.attn_tp, tokens, batched)
        if key not in self._cells:
            self._cells[key] = self._layer_bytes(kind, option, tokens=tokens, batched=batched)
        return self._cells[key]

    def _layer_bytes(self, kind: str, option: Option, *, tokens: int, batched: int) -> int:
        held, size = self.kinds[kind], self.token_bytes(kind, option)
        if held is None or held.state:
            return self.states * size if held is not None else 0
        kept = tokens
        if held.window is not None:
            share, of = self.sliding_share
            window = min(held.window - 1 + batched + self.block, tokens)
            kept = max(window, divide_up(share * tokens, of))
        return divide_up(kept, self.block) * self.block * size

    def layer_demand(self, kind: str, option: Option, demands: Sequence[Demand]) -> int:
        """Bytes of one layer of a pool that is no hybrid, under the largest of several demands."""
        if kind in self.compressed:
            return max((self._compressed_demand(kind, demand) for demand in demands), default=0)

        def asked(demand: Demand) -> int:
            one = self.layer_bytes(kind, option, tokens=demand.tokens, batched=demand.batched)
            longest = self.layer_bytes(kind, option, tokens=demand.longest, batched=demand.batched)
            return max(demand.requests * one, longest)

        return max(map(asked, demands), default=0)

    def _compressed_demand(self, kind: str, demand: Demand) -> int:
        attention, dtype = self.compressed[kind], self.model.kv_dtype
        kept = (demand.tokens, demand.longest)
        one, longest = (compressed.resident_bytes(attention, tokens, self.block, dtype) for tokens in kept)
        return max(demand.requests * one, longest) + compressed.flight_bytes(attention, demand.batched, dtype)
