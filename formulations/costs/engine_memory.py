r"""Memory as the engines account for it at start-up, by engine and version.

.. math:: KV = u M - W - A - N - [graphs] G

======  ==============================  ======  ==========================================================
symbol  code                            unit    source
======  ==============================  ======  ==========================================================
u M     `EngineMemory.budget_bytes`     bytes   utilisation times what a process sees of the device
W       `EngineMemory.weights_bytes`    bytes   `shardproof.formulations.costs.memory`, rotary tables and padding added
A       `EngineMemory.activation_bytes` bytes   peak of the profiling run: the forward pass or the sampler
N       `EngineMemory.non_torch_bytes`  bytes   outside the allocator, by ranks (`engine_profiles`)
G       `EngineMemory.graph_bytes`      bytes   CUDA graphs, taken off by the versions that reserve them
======  ==============================  ======  ==========================================================

The identity holds within 0.01 GiB in 49 start-up logs of vLLM 0.19. With pipeline stages the last one, which
runs head and sampler, binds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil

from shardproof.formulations.costs.engine_profiles import GIB, MemoryProfile, find_profile
from shardproof.formulations.costs.memory import embedding_bytes, head_bytes, kv_bytes_per_request, layer_weight_bytes
from shardproof.formulations.costs.sharding import divide_up, element_bytes, slots_per_rank
from shardproof.formulations.deployment.tables import Option
from shardproof.instances.layers import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
)
from shardproof.instances.model import Model

BLOCK_TOKENS = 16
SMALL_DEVICE = 70 * GIB
GROUPS_MERGE = 1.25
UNKNOWN_MARGIN = 0.03
SAMPLER_HEADROOM = 5 * GIB
KERNEL_TILE = 256
TOWER_LOADING = GIB // 4
TOWER_ACTIVATION = GIB // 4


@dataclass(frozen=True)
class EngineSettings:
    """What the engine is told: name, version, and its memory flags (``None``: the engine's own default)."""

    engine: str = "vllm"
    version: str | None = None
    utilisation: float = 0.9
    max_model_len: int | None = None
    max_batched_tokens: int | None = None
    max_sequences: int | None = None


@dataclass(frozen=True)
class EngineMemory:
    """The engine's own account of one device, bytes; ``kv_tokens`` is the figure that it prints.

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


def account(
    model: Model,
    option: Option,
    settings: EngineSettings,
    *,
    total_bytes: int,
    stages: int = 1,
    draft_layers: int = 0,
    peer_links: bool = True,
) -> EngineMemory:
    """Account for one device of the binding (last) stage.

    ``total_bytes`` is what a process sees of the device; the layers are split evenly over ``stages``.
    ``draft_layers``: layers of a draft (MTP) head that the engine loads as well; ``peer_links``: whether devices
    reach each other directly (NVLink), which costs collective buffers outside the allocator.
    """
    profile = find_profile(settings.engine, settings.version)
    kinds = stage_kinds(model, stages)[-1]
    sequences = default_sequences(settings, total_bytes)
    weights = stage_weight_bytes(model, option, profile, kinds=kinds, first=stages == 1, last=True)
    activation = activation_bytes(model, option, profile, settings, total_bytes=total_bytes)
    non_torch = profile.non_torch_bytes(option.gpus if peer_links else 1)
    graphs = graph_bytes(model, sequences) if profile.graphs_reserved else 0
    budget = round(settings.utilisation * total_bytes)
    free = budget - weights - activation - non_torch - graphs
    per_token = kv_bytes_per_token(model, option, kinds=kinds, draft_layers=draft_layers)
    tokens = max(0, free) // max(1, per_token * BLOCK_TOKENS) * BLOCK_TOKENS
    return EngineMemory(
        total_bytes=total_bytes,
        budget_bytes=budget,
        weights_bytes=weights,
        activation_bytes=activation,
        non_torch_bytes=non_torch,
        graph_bytes=graphs,
        kv_bytes=max(0, free),
        kv_bytes_per_token=per_token,
        kv_tokens=tokens,
        max_sequences=sequences,
        refusal=_refusal(model, settings, free=free, tokens=tokens, total_bytes=total_bytes),
    )


def _refusal(model: Model, settings: EngineSettings, *, free: int, tokens: int, total_bytes: int) -> str | None:
    """Return the reason why the engine would not start; close calls count as refused."""
    doubt = round(UNKNOWN_MARGIN * total_bytes) if settings.version is None else round(0.003 * total_bytes)
    if free <= doubt:
        return "no memory is left for the KV cache"
    length = settings.max_model_len or model.max_position
    if tokens * (free - doubt) // free < length:
        return f"the KV cache holds {tokens} tokens, fewer than max_model_len {length}"
    outside = total_bytes - round(settings.utilisation * total_bytes)
    if model.formats.experts.dtype == "mxfp4" and outside < SAMPLER_HEADROOM:
        return f"the sampler's warm-up needs {SAMPLER_HEADROOM / GIB:g} GiB outside the utilisation"
    return None


def stage_kinds(model: Model, stages: int) -> tuple[tuple[str, ...], ...]:
    """Layer kinds of every stage of an even split; what does not divide goes to the stages before the last."""
    kinds, count = model.layer_kinds, len(model.layer_kinds)
    sizes = [count // stages] * stages
    for index in range(count % stages):
        sizes[-2 - index] += 1
    ends = [sum(sizes[: index + 1]) for index in range(stages)]
    return tuple(kinds[end - size : end] for size, end in zip(sizes, ends, strict=True))


def stage_weight_bytes(
    model: Model, option: Option, profile: MemoryProfile, *, kinds: tuple[str, ...], first: bool, last: bool
) -> int:
    """Weights that one device loads, bytes: matrices, rotary tables, padded MXFP4 experts."""
    total = rotary_bytes(model) + (TOWER_LOADING if model.extra_parameters and first else 0)
    for kind, count in Counter(kinds).items():
        layer = model.kinds[kind]
        total += count * (layer_weight_bytes(model, layer, option) + _absorbed_bytes(layer.attention, option))
        if isinstance(layer.feed_forward, MixtureOfExperts):
            total += count * _expert_padding(model, layer.feed_forward, option, profile)
    if first:
        total += embedding_bytes(model, option)
    if last and not (model.tied and first):
        total += head_bytes(model, option)
    return round(profile.weights_factor * total)


def _absorbed_bytes(attention: Attention, option: Option) -> int:
    """Up-projections of latent attention that decode keeps beside the originals, bf16, bytes."""
    if not isinstance(attention, LatentAttention):
        return 0
    heads = divide_up(attention.heads, option.attn_tp)
    return element_bytes(heads * attention.kv_lora_rank * (attention.qk_nope_head_dim + attention.v_head_dim), "bf16")


def _expert_padding(model: Model, experts: MixtureOfExperts, option: Option, profile: MemoryProfile) -> int:
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
    return sum(element_bytes(model.max_position * width, "bf16") for width, _ in widths)


def default_sequences(settings: EngineSettings, total_bytes: int) -> int:
    """Sequences in one batch: as told, or vLLM's default (1024 on devices of 70 GiB and more since 0.8)."""
    if settings.max_sequences is not None:
        return settings.max_sequences
    old = settings.engine == "vllm" and settings.version is not None and settings.version.startswith(("0.6", "0.5"))
    return 256 if total_bytes < SMALL_DEVICE or old else 1024


def default_batched_tokens(model: Model, profile: MemoryProfile, settings: EngineSettings) -> int:
    """Tokens in one batch: as told, or the default: 8192 with chunked prefill, else one whole prompt."""
    if settings.max_batched_tokens is not None:
        return settings.max_batched_tokens
    if profile.chunked_prefill:
        return 8192
    return max(2048, settings.max_model_len or model.max_position)


def activation_bytes(
    model: Model, option: Option, profile: MemoryProfile, settings: EngineSettings, *, total_bytes: int
) -> int:
    """Peak of the engine's profiling run: the sampler's dummy run or the forward pass, bytes."""
    tokens = default_batched_tokens(model, profile, settings)
    sequences = default_sequences(settings, total_bytes)
    stream = element_bytes(tokens * model.hidden, "bf16")
    base = round(profile.base_activation * GIB) + (TOWER_ACTIVATION if model.extra_parameters else 0)
    sampler = round(profile.bytes_per_logit * sequences * divide_up(model.vocab, 64) * 64)
    workspace = max((_expert_workspace(model, kind, option, tokens) for kind in model.kinds), default=0)
    kept = workspace if profile.kept_expert_workspace else 0
    forward = max(_forward_bytes(model, kind, option, tokens) for kind in model.kinds)
    return base + stream + max(sampler + kept, forward)


def _forward_bytes(model: Model, kind: str, option: Option, tokens: int) -> int:
    """Widest intermediate of a layer in the forward pass, bytes."""
    ffn = model.kinds[kind].feed_forward
    if isinstance(ffn, MixtureOfExperts):
        return _expert_workspace(model, kind, option, tokens)
    width = getattr(ffn, "intermediate", 0)
    return element_bytes(3 * tokens * divide_up(width, option.attn_tp), "bf16")


def _expert_workspace(model: Model, kind: str, option: Option, tokens: int) -> int:
    """Workspace of the fused expert kernel: first GEMM's output (or second's), and the activation, bytes."""
    ffn = model.kinds[kind].feed_forward
    if not isinstance(ffn, MixtureOfExperts) or model.formats.experts.dtype in ("mxfp4", "nvfp4"):
        return 0
    width = divide_up(ffn.intermediate, option.moe_tp)
    pairs = tokens * ffn.topk
    return element_bytes(pairs * max(2 * width, model.hidden) + pairs * width, "bf16")


def graph_bytes(model: Model, sequences: int) -> int:
    """CUDA graphs, bytes: about 14 MiB a layer for up to 512 sequences (33 logs of vLLM 0.19, within 0.4 GiB)."""
    return round(model.layer_count * 14 * 2**20 * min(sequences, 512) / 512)


def kv_bytes_per_token(model: Model, option: Option, *, kinds: tuple[str, ...], draft_layers: int = 0) -> int:
    """KV bytes per token on one device as the engine counts them: groups of layers share one pool of blocks.

    Layers are grouped by kind of cache; every group is padded to the size of the smallest, or of the largest
    where they differ by less than a quarter; linear-attention layers take pages as large as attention's.
    """
    per_layer, groups = _cache_groups(model, option, kinds)
    if draft_layers and groups:
        groups[max(groups)] = groups[max(groups)] + draft_layers
    counts = [count for count in groups.values() if count]
    if not counts:
        return 0
    if len(counts) == 1:
        return counts[0] * per_layer
    low, high = min(counts), max(counts)
    size = high if high < GROUPS_MERGE * low else low
    return sum(divide_up(count, size) for count in counts) * size * per_layer


def _cache_groups(model: Model, option: Option, kinds: tuple[str, ...]) -> tuple[int, dict[str, int]]:
    """Return (bytes per token of one full-attention layer, layers by kind of cache)."""
    per_layer, groups = 0, {"full": 0, "sliding": 0, "linear": 0}
    for kind in kinds:
        attention = model.kinds[kind].attention
        if isinstance(attention, LinearAttention):
            groups["linear"] += 1
        elif isinstance(attention, GroupedQueryAttention | LatentAttention):
            groups["sliding" if getattr(attention, "window", None) else "full"] += 1
            per_layer = max(per_layer, kv_bytes_per_request(model, model.kinds[kind], option, 1))
    return per_layer, groups
