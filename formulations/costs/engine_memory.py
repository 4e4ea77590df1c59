r"""Memory as the engines account for it at start-up, by engine and version.

.. math:: W_s + A + N + G_s + KV_s \le u M

======  ==============================  ======  ==========================================================
symbol  code                            unit    source
======  ==============================  ======  ==========================================================
u M     `EngineMemory.budget_bytes`     bytes   utilisation times what a process sees of the device
W       `EngineMemory.weights_bytes`    bytes   `shardproof.formulations.costs.memory`, rotary tables and padding added
A       `EngineMemory.activation_bytes` bytes   peak of the profiling run: the forward pass or the sampler
N       `EngineMemory.non_torch_bytes`  bytes   outside the allocator, by ranks (`engine_profiles`)
G       `EngineMemory.graph_bytes`      bytes   CUDA graphs, taken off by the versions that reserve them
KV      `engine_cache.CachePool`        bytes   blocks of the resident requests
======  ==============================  ======  ==========================================================

Every part is a sum of integer cells of layers and ends: `EngineAccount` gives the cells of the integer program's
rows, and the same cells added up are the account of a plan. What is left of u M is the cache that the engine prints.

The identity holds within 0.01 GiB in 49 start-up logs of vLLM 0.19. With pipeline stages the last one, which
runs head and sampler, binds where the stages are even.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import ceil

from shardproof.formulations.costs.compressed import PAGE_TOKENS
from shardproof.formulations.costs.engine_cache import CachePool, Demand
from shardproof.formulations.costs.engine_layers import (
    absorbed_bytes,
    expert_padding,
    expert_workspace,
    forward_bytes,
    rotary_bytes,
    with_layers,
)
from shardproof.formulations.costs.engine_profiles import GIB, MemoryProfile, find_profile, version_key
from shardproof.formulations.costs.memory import embedding_bytes, head_bytes, layer_weight_bytes
from shardproof.formulations.costs.sharding import divide_up, element_bytes
from shardproof.formulations.costs.speculative import draft_weight_bytes
from shardproof.instances.engine import EngineSettings
from shardproof.instances.layers import CompressedAttention, MixtureOfExperts
from shardproof.instances.model import Model
from shardproof.instances.option import Option
from shardproof.instances.speculative import Draft, Speculation

SMALL_DEVICE = 70 * GIB
DOUBT = Fraction(3, 1000)
"""Share of a device that the account leaves free: what start-up logs deviate from it."""
SAMPLER_BYTES = 40.5
"""Bytes per (sequence, vocabulary entry) that a sampler's warm-up takes (MXFP4 models): what the profiling run did
not see of it (`MemoryProfile.bytes_per_logit`) lies outside the utilisation. Versions up to 0.16 saw nearly all."""
TOWER_LOADING = GIB // 4
TOWER_ACTIVATION = GIB // 4


@dataclass(frozen=True)
class Launch:
    """What the engine is told for one attention replica, every default filled in.

    ``batched``: tokens of one iteration; ``sequences``: requests that run at once; ``longest``: tokens of the
    longest request that it accepts.
    """

    batched: int
    sequences: int
    longest: int


@dataclass(frozen=True)
class EngineMemory:
    """The engine's own account of one device, bytes; ``kv_tokens`` is the figure that it prints.

    ``kv_blocks`` blocks of ``block_bytes`` each; ``request_blocks`` of them hold the longest request.
    ``refusal`` says why the engine would not start (``None``: it starts).
    """

    total_bytes: int
    budget_bytes: int
    weights_bytes: int
    activation_bytes: int
    non_torch_bytes: int
    graph_bytes: int
    kv_bytes: int
    kv_bytes_per_token: int
    kv_tokens: int
    max_sequences: int
    refusal: str | None
    kv_blocks: int = 0
    block_bytes: int = 0

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by part, as printed."""
        return {
            "weights": self.weights_bytes,
            "activations": self.activation_bytes,
            "non_torch": self.non_torch_bytes,
            "cuda_graphs": self.graph_bytes,
            "kv_cache": self.kv_bytes,
        }


@dataclass(frozen=True)
class StageSpan:
    """Layers ``start .. stop-1`` of a model, as a stage holds them."""

    start: int
    stop: int


@dataclass(frozen=True)
class EngineAccount:
    """The account of one model under one engine on one kind of device, in integer cells.

    ``total_bytes``: what a process sees of the device; ``peer_links``: whether devices reach each other directly
    (NVLink), which costs collective buffers outside the allocator; ``reserve_bytes``: kept free beside it all;
    ``speculation``: what guesses tokens ahead, whose layers and caches lie on the last stage.
    """

    model: Model
    settings: EngineSettings
    total_bytes: int
    peer_links: bool = True
    reserve_bytes: int = 0
    speculation: Speculation | None = None
    _cells: dict[tuple[object, ...], int] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def profile(self) -> MemoryProfile:
        """How the engine's version accounts."""
        return find_profile(self.settings.name, self.settings.version)

    @cached_property
    def pool(self) -> CachePool:
        """How the engine's version holds caches."""
        block = self.settings.block_size or self.profile.block_tokens
        if any(isinstance(layer.attention, CompressedAttention) for layer in self.model.kinds.values()):
            block = max(block, PAGE_TOKENS)
        return CachePool(
            self._cached_model,
            block=block,
            grouped=self.profile.cache == "groups",
            windows=self.profile.cache != "whole",
            sliding_share=(4, 5) if self.profile.cache == "pools" else (0, 1),
            states=self.verified,
        )

    @property
    def draft(self) -> Draft | None:
        """What guesses on the devices of the last stage."""
        return None if self.speculation is None else self.speculation.draft

    @property
    def verified(self) -> int:
        """Tokens of each sequence that one iteration computes."""
        return 1 if self.speculation is None else self.speculation.verified

    @cached_property
    def _cached_model(self) -> Model:
        """The model with the layers of a draft behind its own: they keep caches in the same pool."""
        return self.model if self.draft is None else with_layers(self.model, self.draft.model)

    @cached_property
    def draft_kinds(self) -> Counter[str]:
        """Layers of a draft by their kinds in the pool."""
        return Counter(self._cached_model.layer_kinds[self.model.layer_count :])

    @cached_property
    def _all_groups(self) -> tuple[int | None, ...]:
        return self.pool.group_of_layers() if self.pool.is_hybrid else (None,) * self._cached_model.layer_count

    @cached_property
    def groups(self) -> tuple[int | None, ...]:
        """Group of every layer in a hybrid pool, else none."""
        return self._all_groups[: self.model.layer_count]

    @cached_property
    def draft_groups(self) -> Counter[int | None]:
        """Layers of a draft by their groups in a hybrid pool."""
        return Counter(self._all_groups[self.model.layer_count :])

    def draft_weights(self, option: Option) -> int:
        """Weights of what guesses on a device of the last stage, bytes."""
        if self.draft is None:
            return 0
        tables = rotary_bytes(self.draft.model) if self.draft.own_embedding else 0
        return self._loaded(draft_weight_bytes(self.draft, option) + tables)

    def draft_cache(self, option: Option, demands: Sequence[Demand], group: int | None) -> int:
        """Cache of what guesses on a device of the last stage, bytes: of its layers in a group of a hybrid pool."""
        if self.draft is None:
            return 0
        if group is not None:
            return self.draft_groups[group] * self.group_bytes(option, demands)
        return sum(count * self.layer_cache(kind, option, demands) for kind, count in self.draft_kinds.items())

    def layer_weights(self, kind: str, option: Option) -> int:
        """Weights of one layer as loaded, bytes: matrices, absorbed projections, padded MXFP4 experts."""
        key = ("weights", kind, option)
        if key not in self._cells:
            layer = self.model.kinds[kind]
            total = layer_weight_bytes(self.model, layer, option) + absorbed_bytes(layer.attention, option)
            if isinstance(layer.feed_forward, MixtureOfExperts):
                total += expert_padding(self.model, layer.feed_forward, option, self.profile)
            self._cells[key] = self._loaded(total)
        return self._cells[key]

    def _loaded(self, size: int) -> int:
        return ceil(Fraction(str(self.profile.weights_factor)) * size)

    def _kept(self, key: tuple[object, ...], size: Callable[[], int]) -> int:
        """Weights as loaded, computed once by key."""
        return self._cells[key] if key in self._cells else self._cells.setdefault(key, self._loaded(size()))

    def embedding(self, option: Option) -> int:
        """Embedding of the first stage, with a tower that text never uses, bytes."""
        tower = TOWER_LOADING if self.model.extra_parameters else 0
        return self._kept(("embedding", option.attn_tp), lambda: embedding_bytes(self.model, option) + tower)

    def head(self, option: Option) -> int:
        """Head of the last stage, bytes; a tied one is not stored twice on a single stage."""
        return self._kept(("head", option.attn_tp), lambda: head_bytes(self.model, option))

    def layer_graphs(self, launch: Launch) -> int:
        """CUDA graphs of one layer that come off the budget, bytes: 14 MiB for up to 512 tokens of a decode."""
        if not self.profile.graphs_reserved or self.settings.enforce_eager:
            return 0
        return divide_up(14 * 2**20 * min(launch.sequences * self.verified, 512), 512)

    def fixed(self, option: Option) -> int:
        """What every stage keeps outside weights, cache and activations, bytes."""
        outside = self.profile.non_torch_bytes(option.gpus if self.peer_links else 1)
        return outside + self._kept(("rotary",), lambda: rotary_bytes(self.model)) + self.reserve_bytes

    @property
    def tells_static(self) -> bool:
        """Whether the engine is told a share of the device that holds weights and cache alone."""
        return self.profile.static_fraction and self.settings.gpu_memory_utilization is not None

    def activations(self, option: Option, launch: Launch, *, last: bool) -> int:
        """Activations that come off the budget, bytes."""
        return 0 if self.tells_static else self.peak(option, launch, last=last)

    def peak(self, option: Option, launch: Launch, *, last: bool) -> int:
        """Peak of the profiling run: the forward pass or, on the last stage, the sampler's dummy run, bytes."""
        key = ("activations", option.attn_tp, option.moe_tp, launch.batched, launch.sequences, last)
        if key not in self._cells:
            model, profile = self.model, self.profile
            stream = element_bytes(launch.batched * model.hidden * model.residual_streams, "bf16")
            base = round(profile.base_activation * GIB) + (TOWER_ACTIVATION if model.extra_parameters else 0)
            forward = max(forward_bytes(model, kind, option, launch.batched) for kind in model.kinds)
            workspace = max((expert_workspace(model, kind, option, launch.batched) for kind in model.kinds), default=0)
            kept = workspace if profile.kept_expert_workspace else 0
            rows = launch.sequences * self.verified
            logits = round(profile.bytes_per_logit * rows * divide_up(model.vocab, 64) * 64)
            self._cells[key] = base + stream + max(logits + kept if last else kept, forward)
        return self._cells[key]

    def headroom(self, option: Option, launch: Launch) -> int:
        """Memory outside the utilisation that the engine needs, bytes.

        The sampler's warm-up of MXFP4 models; activations where the share that is told leaves them out.
        """
        if self.tells_static:
            return self.peak(option, launch, last=True)
        if self.model.formats.experts.dtype != "mxfp4":
            return 0
        unseen = max(0.0, SAMPLER_BYTES - self.profile.bytes_per_logit)
        return ceil(unseen * launch.sequences * self.model.vocab)

    def group_bytes(self, option: Option, demands: Sequence[Demand]) -> int:
        """KV cache of one layer of the widest group of a hybrid pool, bytes."""
        return self.pool.page_bytes(option) * self.pool.demand_pages(option, demands)

    def layer_cache(self, kind: str, option: Option, demands: Sequence[Demand]) -> int:
        """KV cache of one layer of a pool that is no hybrid, bytes."""
        return self.pool.layer_demand(kind, option, demands)

    def stage(
        self, span: StageSpan, option: Option, launch: Launch, demands: Sequence[Demand], *, tied_once: bool
    ) -> dict[str, int]:
        """Bytes of one device of a stage by part; ``tied_once``: a tied head lies with the embedding."""
        kinds = Counter(self.model.layer_kinds[span.start : span.stop])
        last = span.stop == self.model.layer_count
        return {
            "weights": sum(count * self.layer_weights(kind, option) for kind, count in kinds.items()),
            "kv_cache": self._stage_cache(span, option, demands),
            "embedding": self.embedding(option) if span.start == 0 else 0,
            "head": self.head(option) if last and not tied_once else 0,
            **({"draft": self.draft_weights(option)} if last and self.draft is not None else {}),
            "activations": self.activations(option, launch, last=last),
            "cuda_graphs": self.layer_graphs(launch) * (span.stop - span.start),
            "runtime": self.fixed(option),
        }

    def _stage_cache(self, span: StageSpan, option: Option, demands: Sequence[Demand]) -> int:
        if self.pool.is_hybrid:
            return self.widest_group(span) * self.group_bytes(option, demands)
        kinds = self._kinds(span)
        return sum(count * self.layer_cache(kind, option, demands) for kind, count in kinds.items())

    def _kinds(self, span: StageSpan) -> Counter[str]:
        """Layers of a stage that keep caches, by kind: on the last one those of a draft too."""
        kinds = Counter(self.model.layer_kinds[span.start : span.stop])
        return kinds + self.draft_kinds if span.stop == self.model.layer_count else kinds

    def widest_group(self, span: StageSpan) -> int:
        """Layers of the group that has most of them on a stage."""
        counts = Counter(group for group in self.groups[span.start : span.stop] if group is not None)
        if span.stop == self.model.layer_count:
            counts += Counter({group: count for group, count in self.draft_groups.items() if group is not None})
        return max(counts.values(), default=0)

    def capacity(self, span: StageSpan, option: Option, launch: Launch, *, budget: int, tied_once: bool) -> Capacity:
        """Return what is left for the cache of a stage within a budget, in bytes and in the engine's units."""
        parts = self.stage(span, option, launch, (), tied_once=tied_once)
        free = max(0, budget - sum(parts.values()))
        if self.pool.is_hybrid:
            block = self.pool.page_bytes(option) * self.widest_group(span)
            blocks = free // max(1, block)
            tokens = blocks // len(self.pool.groups) * self.pool.smallest_page(option)
            return Capacity(free, block, blocks, tokens)
        kinds = self._kinds(span)
        block = sum(count * self.pool.block_bytes(kind, option) for kind, count in kinds.items())
        blocks = free // max(1, block)
        return Capacity(free, block, blocks, blocks * self.pool.block)

    def holds(self, span: StageSpan, option: Option, capacity: Capacity, *, tokens: int, batched: int) -> int:
        """Requests of ``tokens`` tokens that the cache of a stage holds at once."""
        if self.pool.is_hybrid:
            return capacity.blocks // max(1, self.pool.request_pages(option, tokens=tokens, batched=batched))
        first, second = (self._stage_cache(span, option, (Demand(n, tokens, 1, batched),)) for n in (1, 2))
        return 0 if capacity.free < first else 1 + (capacity.free - first) // max(1, second - first)


@dataclass(frozen=True)
class Capacity:
    """The cache of a stage: bytes, bytes of a block on all its layers, blocks, and tokens as the engine prints."""

    free: int
    block_bytes: int
    blocks: int
    tokens: int


def account(
    model: Model,
    option: Option,
    settings: EngineSettings,
    *,
    total_bytes: int,
    stages: int = 1,
    peer_links: bool = True,
    speculation: Speculation | None = None,
) -> EngineMemory:
    """Account for one device of the last of ``stages`` even stages, at the engine's defaults where nothing is set."""
    told = EngineAccount(model, settings, total_bytes, peer_links, speculation=speculation)
    longest = settings.max_model_len or model.max_position
    sequences = default_sequences(settings, total_bytes)
    batched = default_batched_tokens(told.profile, settings, total_bytes=total_bytes, longest=longest)
    launch = Launch(max(batched, sequences), sequences, longest)
    last = stage_kinds(model, stages)[-1]
    span = StageSpan(model.layer_count - len(last), model.layer_count)
    utilisation = settings.gpu_memory_utilization or told.profile.utilisation
    return memory_of(told, span, option, launch, utilisation=utilisation)


def memory_of(
    told: EngineAccount, span: StageSpan, option: Option, launch: Launch, *, utilisation: Fraction
) -> EngineMemory:
    """Return the engine's account of a stage at a utilisation."""
    tied_once = told.model.tied and span == StageSpan(0, told.model.layer_count)
    total, budget = told.total_bytes, int(utilisation * told.total_bytes)
    parts = told.stage(span, option, launch, (), tied_once=tied_once)
    found = told.capacity(span, option, launch, budget=budget, tied_once=tied_once)
    return EngineMemory(
        total_bytes=total,
        budget_bytes=budget,
        weights_bytes=parts["weights"]
        + parts["embedding"]
        + parts["head"]
        + parts.get("draft", 0)
        + told._loaded(rotary_bytes(told.model)),
        activation_bytes=parts["activations"],
        non_torch_bytes=parts["runtime"] - told._loaded(rotary_bytes(told.model)),
        graph_bytes=parts["cuda_graphs"],
        kv_bytes=found.free,
        kv_bytes_per_token=found.free // max(1, found.tokens) if found.tokens else 0,
        kv_tokens=found.tokens,
        max_sequences=launch.sequences,
        refusal=_refusal(told, span, option, launch, found, budget=budget),
        kv_blocks=found.blocks,
        block_bytes=found.block_bytes,
    )


def _refusal(
    told: EngineAccount, span: StageSpan, option: Option, launch: Launch, found: Capacity, *, budget: int
) -> str | None:
    """Return the reason why the engine would not start; close calls count as refused."""
    tied_once = told.model.tied and span == StageSpan(0, told.model.layer_count)
    doubt = int(DOUBT * told.total_bytes)
    if found.free <= doubt:
        return "no memory is left for the KV cache"
    sure = told.capacity(span, option, launch, budget=budget - doubt, tied_once=tied_once)
    if not told.holds(span, option, sure, tokens=launch.longest, batched=launch.batched):
        return f"the KV cache holds {found.tokens} tokens, fewer than max_model_len {launch.longest}"
    outside = told.total_bytes - budget + told.total_bytes // 1000
    if outside < told.headroom(option, launch):
        needed = told.headroom(option, launch) / GIB
        what = "activations need" if told.tells_static else "the sampler's warm-up needs"
        return f"{what} {needed:.2g} GiB outside the utilisation"
    return None


def stage_kinds(model: Model, stages: int) -> tuple[tuple[str, ...], ...]:
    """Layer kinds of every stage of an even split; what does not divide goes to the stages before the last."""
    kinds, count = model.layer_kinds, len(model.layer_kinds)
    sizes = [count // stages] * stages
    for index in range(count % stages):
        sizes[-2 - index] += 1
    ends = [sum(sizes[: index + 1]) for index in range(stages)]
    return tuple(kinds[end - size : end] for size, end in zip(sizes, ends, strict=True))


def default_sequences(settings: EngineSettings, total_bytes: int) -> int:
    """Sequences in one batch: as told, or vLLM's default (1024 on devices of 70 GiB and more since 0.8)."""
    if settings.max_num_seqs is not None:
        return settings.max_num_seqs
    old = settings.name == "vllm" and settings.version is not None and version_key(settings.version) < (0, 8)
    return 256 if total_bytes < SMALL_DEVICE or old else 1024


def default_batched_tokens(profile: MemoryProfile, settings: EngineSettings, *, total_bytes: int, longest: int) -> int:
    """Tokens in one iteration: as told, or the default: 8192 (2048 on small devices), or one whole prompt.

    Whole prompts are the default of versions without chunked prefill.
    """
    if settings.max_num_batched_tokens is not None:
        return settings.max_num_batched_tokens
    if profile.chunked_prefill:
        return 2048 if total_bytes < SMALL_DEVICE else 8192
    return max(2048, longest)
