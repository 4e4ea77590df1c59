"""What an engine accepts, as readable rules: each is a name, a sentence and a test on one option.

``any`` holds what no engine can escape: equal shards of heads and intermediate dimensions, an expert on every
expert-parallel rank, and stages that fill nodes evenly. Each engine adds its own rules to these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shardproof.formulations.costs.engine_profiles import version_key
from shardproof.formulations.engines import guessing, kernels
from shardproof.formulations.engines.rule import Rule
from shardproof.formulations.engines.shards import Shard, quantised_shards
from shardproof.instances.instance import Instance
from shardproof.instances.layers import (
    CompressedAttention,
    DenseFeedForward,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    LinearAttention,
    MixtureOfExperts,
)
from shardproof.instances.option import Option
from shardproof.instances.workload import Phased

__all__ = ["ENGINES", "PHYSICAL", "Rule", "broken_rules", "has_experts", "keeping_rules", "rules_of", "runs_alone"]

SMALL_NODE = 8
"""GPUs of a node up to which stages fill it evenly; larger ones (NVL72) are filled by powers of two as well."""

MERGED_CUT_SINCE = (0, 14)
"""vLLM's first release in which merged projections may be cut through blocks (ColumnParallelLinear.
_maybe_allow_fp8_block_shape_mismatch)."""

LONG_REFUSED_SINCE = (0, 5, 1)
"""SGLang's first release that refuses a context beyond the model's positions by default (pull request 9388)."""

VOCABULARY_PADDING = 64
"""Rows to which engines pad the embedding table before they cut it."""


def _layers(instance: Instance) -> Iterator[Layer]:
    return iter(instance.model.kinds.values())


def _experts(instance: Instance) -> Iterator[MixtureOfExperts]:
    return (layer.feed_forward for layer in _layers(instance) if isinstance(layer.feed_forward, MixtureOfExperts))


def _both_phases(instance: Instance, option: Option) -> bool:
    del option
    loads = (scenario.workload for scenario in getattr(instance, "scenarios", ()))  # an audit may know of none
    return not any(isinstance(load, Phased) and load.phase != "both" for load in loads)


def has_experts(instance: Instance) -> bool:
    """Whether any layer routes tokens to experts."""
    return any(True for _ in _experts(instance))


def _either_divides(left: int, right: int) -> bool:
    return left % right == 0 or right % left == 0


def _heads_divide(instance: Instance, option: Option) -> bool:
    kinds = (GroupedQueryAttention, LatentAttention, LinearAttention, CompressedAttention)
    attentions = [layer.attention for layer in _layers(instance)]
    groups = [attention.output_groups for attention in attentions if isinstance(attention, CompressedAttention)]
    heads = [attention.heads for attention in attentions if isinstance(attention, kinds)]
    return all(count % option.attn_tp == 0 for count in (*heads, *groups))


def _kv_heads_divide(instance: Instance, option: Option) -> bool:
    for layer in _layers(instance):
        attention = layer.attention
        if isinstance(attention, GroupedQueryAttention) and not _either_divides(attention.kv_heads, option.attn_tp):
            return False
    return True


def _state_groups_divide(instance: Instance, option: Option) -> bool:
    groups = (layer.attention.key_heads for layer in _layers(instance) if isinstance(layer.attention, LinearAttention))
    return all(count == 1 or count % option.attn_tp == 0 for count in groups)


def _widths(instance: Instance, option: Option) -> Iterator[tuple[int, int]]:
    """Yield (intermediate width, ranks that cut it) of every feed-forward part."""
    for layer in _layers(instance):
        ffn = layer.feed_forward
        if isinstance(ffn, DenseFeedForward):
            yield ffn.intermediate, option.attn_tp
        if isinstance(ffn, MixtureOfExperts):
            yield ffn.intermediate, option.moe_tp
            yield ffn.shared_intermediate, option.attn_tp
            yield ffn.dense_intermediate, option.attn_tp


def _intermediate_divides(instance: Instance, option: Option) -> bool:
    return all(width % ranks == 0 for width, ranks in _widths(instance, option))


def _expert_on_every_rank(instance: Instance, option: Option) -> bool:
    if not has_experts(instance):
        return option.moe_ep == 1
    return all(option.moe_ep <= experts.experts for experts in _experts(instance))


def _fills_nodes(instance: Instance, option: Option) -> bool:
    node, gpus = instance.device.devices_per_node, option.gpus
    if gpus > node:
        return gpus % node == 0
    if instance.stage_widths == "any":
        return True
    return node % gpus == 0 or (node > SMALL_NODE and gpus & (gpus - 1) == 0)


def _is_grouped(shard: Shard) -> bool:
    """Whether scales belong to groups of inputs alone (AWQ, GPTQ, NVFP4), not to two-dimensional blocks."""
    return shard.stored.block is not None and shard.stored.block[0] == 1


def _whole_blocks(instance: Instance, option: Option) -> bool:
    merged = _cuts_merged_blocks(instance)
    shards = quantised_shards(instance.model, option)
    return all(shard.whole or _is_grouped(shard) or (merged and shard.merged) for shard in shards)


def _cuts_merged_blocks(instance: Instance) -> bool:
    """Whether the engine cuts merged projections anywhere: vLLM since pull request 30836 (December 2025)."""
    settings = instance.engine_settings
    new = settings.version is None or version_key(settings.version) >= MERGED_CUT_SINCE
    return instance.engine == "vllm" and new


def _whole_groups(instance: Instance, option: Option) -> bool:
    return all(shard.whole or not _is_grouped(shard) for shard in quantised_shards(instance.model, option))


def _vocabulary_divides(instance: Instance, option: Option) -> bool:
    padded = -(-instance.model.vocab // VOCABULARY_PADDING) * VOCABULARY_PADDING
    return padded % option.attn_tp == 0


def _experts_divide(instance: Instance, option: Option) -> bool:
    return option.extra_slots > 0 or all(experts.experts % option.moe_ep == 0 for experts in _experts(instance))


def _no_attention_dp_with_ep(instance: Instance, option: Option) -> bool:
    return not has_experts(instance) or option.attn_dp == 1 or option.moe_ep == 1


def _ep_is_tp_times_dp(instance: Instance, option: Option) -> bool:
    return not has_experts(instance) or option.moe_ep in (1, option.gpus)


def _attention_dp_all_or_none(instance: Instance, option: Option) -> bool:
    del instance
    return option.attn_dp in (1, option.gpus)


def _no_attention_dp(instance: Instance, option: Option) -> bool:
    del instance
    return option.attn_dp == 1


def _fixed_degrees(instance: Instance, option: Option) -> bool:
    return instance.fixed.admit(option)


def _within_positions(instance: Instance, option: Option) -> bool:
    del option
    settings = instance.engine_settings
    version = (9,) if settings.version is None else version_key(settings.version)
    only_warned = instance.engine == "sglang" and version < LONG_REFUSED_SINCE
    told = settings.max_model_len
    return only_warned or told is None or settings.allow_long_max_model_len or told <= instance.model.max_position


def _always(instance: Instance, option: Option) -> bool:
    del instance, option
    return True


PHYSICAL: tuple[Rule, ...] = (
    Rule(
        "heads",
        "attn_tp divides the number of query heads (and of groups of the output projection, where there are any)",
        _heads_divide,
        reads=("attn_tp",),
        source="vLLM config/model.py, ModelConfig.verify_with_parallel_config; "
        "TensorRT-LLM _torch/modules/attention.py, Attention.__init__; SGLang models/*.py, Attention.__init__",
    ),
    Rule(
        "kv-heads",
        "KV heads are divisible by attn_tp, or the reverse",
        _kv_heads_divide,
        reads=("attn_tp",),
        source="vLLM model_executor/layers/linear.py, QKVParallelLinear; the same class in SGLang",
    ),
    Rule(
        "state-groups",
        "attn_tp divides the groups of recurrent states (keys of linear attention), or there is one",
        _state_groups_divide,
        reads=("attn_tp",),
        source="vLLM layers/mamba/mamba_mixer2.py, MambaMixer2.__init__ (issue 46407, pull request 55091), and "
        "qwen_gdn_linear_attn.py; SGLang layers/attention/mamba/mamba.py, MambaMixer2.__init__",
    ),
    Rule(
        "ffn-width",
        "tensor-parallel ranks divide the intermediate widths",
        _intermediate_divides,
        reads=("attn_tp", "moe_tp"),
        source="vLLM distributed/utils.py, divide; SGLang layers/moe/fused_moe_triton/layer.py, FusedMoE.__init__",
    ),
    Rule(
        "experts",
        "every expert-parallel rank holds at least one expert (moe_ep = 1 without experts)",
        _expert_on_every_rank,
        reads=("moe_ep",),
        source="a rank without an expert has nothing to do; vLLM config/model.py, _verify_with_expert_parallelism",
    ),
    Rule(
        "nodes",
        "a stage's GPUs divide a node's (in a node of more than 8 also a power of two; any number of them with "
        "stage_widths: any), or are whole nodes",
        _fills_nodes,
        reads=("gpus",),
        source="the planner's own; racks such as NVL72 run powers of two of their 72",
    ),
    guessing.DRAFT_SHARDS,
    Rule(
        "fixed",
        "degrees are those that the question fixes",
        _fixed_degrees,
        source="the question's own: fixed.tensor_parallel, data_parallel, expert_parallel",
    ),
)

UNIFORM = Rule(
    "uniform-stages",
    "every stage runs the same widths (the engine has one TP, DP and EP size)",
    _always,
    reads=(),
    uniform=True,
    source="one flag each: --tensor-parallel-size, --tp-size, --tp_size",
)
WHOLE_BLOCKS = Rule(
    "whole-blocks",
    "a sharded dimension of block-quantised weights stays a multiple of the block",
    _whole_blocks,
    reads=("attn_tp", "moe_tp"),
    source="vLLM layers/quantization/utils/fp8_utils.py, validate_fp8_block_shape, and fp8.py, Fp8MoEMethod."
    "create_weights; SGLang layers/quantization/fp8.py, the same two checks; vLLM since 0.14 exempts what is merged "
    "into one (query, key, value; gate and up of a dense part): linear.py, _maybe_allow_fp8_block_shape_mismatch",
)
WHOLE_GROUPS = Rule(
    "whole-groups",
    "a sharded dimension of weights quantised in groups stays a multiple of the group (attention included)",
    _whole_groups,
    reads=("attn_tp", "moe_tp"),
    source="vLLM layers/quantization/awq.py, AWQLinearMethod.create_weights, gptq.py, and utils/marlin_utils.py, "
    "verify_marlin_supports_shape; experts: moe_wna16.py, MoeWNA16Method.create_weights (groups are halved to 32); "
    "SGLang: the same files; TensorRT-LLM _torch/modules/linear.py, W4A16_AWQ_LinearMethod.create_weights",
)
VOCABULARY = Rule(
    "vocabulary",
    "attn_tp divides the vocabulary, padded to a multiple of 64",
    _vocabulary_divides,
    reads=("attn_tp",),
    source="vLLM layers/vocab_parallel_embedding.py, VocabParallelEmbedding.__init__; the same class in SGLang",
)
WEIGHTS_DEVICE = Rule(
    "weights-device",
    "the device runs the engine's kernels for weights that are stored so",
    kernels.runs_weights,
    reads=(),
    source="vLLM and SGLang get_min_capability of layers/quantization/*.py, checked when a model is loaded (vLLM "
    "issues 4202, 14040); TensorRT-LLM support matrix: FP8 from Ada on, MXFP4 from Hopper on, NVFP4 on Blackwell",
)
SPARSE_DEVICE = Rule(
    "sparse-device",
    "attention to selected tokens runs on Hopper and later only",
    kernels.runs_sparse,
    reads=(),
    source="vLLM v1/attention/backends/mla/flashmla_sparse.py, supports_compute_capability (issues 31480, 31936); "
    "SGLang layers/attention/dsa_backend.py",
)
KERNEL_BLOCKS = Rule(
    "kernel-blocks",
    "a stated block of the cache suits a kernel (vLLM: a multiple of 16; 64 for selected tokens, 256 for compressed "
    "entries; TensorRT-LLM: a power of two)",
    kernels.has_kernel_blocks,
    reads=(),
    source="vLLM v1/attention/backends/*.py, get_supported_kernel_block_sizes; TensorRT-LLM "
    "KvCacheConfig.tokens_per_block",
)
CACHE_DTYPE = Rule(
    "cache-dtype",
    "compressed entries are cached in 8 bits",
    kernels.keeps_cache_dtype,
    reads=(),
    source="vLLM models/deepseek_v4/attention.py, _resolve_dsv4_kv_cache_dtype; SGLang arg_groups/deepseek_v4_hook.py",
)
WHOLE_PROMPTS = Rule(
    "whole-prompts",
    "versions that do not cut prompts hold the longest request in one iteration",
    kernels.cuts_prompts,
    reads=(),
    source="vLLM config/scheduler.py, SchedulerConfig.verify_max_model_len (max_num_batched_tokens below "
    "max_model_len)",
)
COMPRESSED_EXPERTS = Rule(
    "compressed-experts",
    "in models with compressed attention moe_ep divides the number of experts",
    kernels.divides_compressed_experts,
    reads=("moe_ep", "extra_slots"),
    source="vLLM models/deepseek_v4/nvidia/model.py, DeepseekV4MoE (issue 52435)",
)
CONTEXT = Rule(
    "context",
    "max_model_len is within the model's positions, as stretched by rope_scaling, or longer ones are allowed outright",
    _within_positions,
    reads=(),
    source="vLLM config/model.py, _get_and_verify_max_len (VLLM_ALLOW_LONG_MAX_MODEL_LEN); SGLang configs/"
    "model_config.py, ModelConfig._derive_context_length (SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN); TensorRT-LLM "
    "lowers max_seq_len with a warning instead: _torch/pyexecutor/model_engine.py, _init_max_seq_len",
)
WHOLE_EXPERTS = Rule(
    "whole-experts",
    "moe_ep divides the number of experts (unless redundant experts fill the ranks)",
    _experts_divide,
    reads=("moe_ep", "extra_slots"),
    source="SGLang layers/moe/fused_moe_triton/layer.py, FusedMoE.__init__ (num_experts % moe_ep_size); "
    "TensorRT-LLM _torch/modules/fused_moe/interface.py, MoE (num_experts % ep_size without a load balancer)",
)

ENGINES: dict[str, tuple[Rule, ...]] = {
    "any": (),
    "vllm": (
        UNIFORM,
        WHOLE_BLOCKS,
        WHOLE_GROUPS,
        VOCABULARY,
        CONTEXT,
        WHOLE_PROMPTS,
        WEIGHTS_DEVICE,
        SPARSE_DEVICE,
        KERNEL_BLOCKS,
        CACHE_DTYPE,
        COMPRESSED_EXPERTS,
        Rule(
            "ep-is-tp-dp",
            "expert parallelism is off, or spans all of TP x DP",
            _ep_is_tp_times_dp,
            source="vLLM layers/fused_moe/config.py, FusedMoEParallelConfig.make (ep_size = dp_size * tp_size)",
        ),
        Rule(
            "dp-outside-pp",
            "data-parallel attention in several stages stays inside a node (else the ranks of a stage are torn apart)",
            _no_attention_dp,
            pipelines=True,
            spans=True,
            source="vLLM distributed/parallel_state.py, initialize_model_parallel: ranks are laid out DP x PP x TP",
        ),
        *guessing.OF_VLLM,
        Rule(
            "pools-one-stage",
            "a replica that prefills or decodes alone has one stage: NixlConnector moves no caches of pipelines",
            _both_phases,
            reads=(),
            pipelines=True,
            source="vLLM issues 40674 and 52913 (open): NixlConnector refuses handshakes of pp_rank > 0",
        ),
    ),
    "sglang": (
        UNIFORM,
        WHOLE_BLOCKS,
        WHOLE_GROUPS,
        VOCABULARY,
        CONTEXT,
        WEIGHTS_DEVICE,
        SPARSE_DEVICE,
        CACHE_DTYPE,
        WHOLE_EXPERTS,
        Rule(
            "one-stage-dp-ep",
            "data-parallel attention together with expert parallelism runs in one stage",
            _no_attention_dp_with_ep,
            pipelines=True,
            source="SGLang issue 9805 (open): PP + EP + DP attention crashes at the first request",
        ),
        *guessing.OF_SGLANG,
    ),
    "trtllm": (
        UNIFORM,
        WHOLE_BLOCKS,
        WHOLE_GROUPS,
        WHOLE_EXPERTS,
        WEIGHTS_DEVICE,
        KERNEL_BLOCKS,
        Rule(
            "attention-dp",
            "attention is either all tensor-parallel or all data-parallel",
            _attention_dp_all_or_none,
            source="TensorRT-LLM _torch/modules/attention.py, Attention.__init__ (tp_size = 1 with attention DP)",
        ),
        *guessing.OF_TRTLLM,
    ),
}


def rules_of(engine: str) -> tuple[Rule, ...]:
    """Every rule that holds for an engine, the physical ones first."""
    return PHYSICAL + ENGINES[engine]


def broken_rules(
    instance: Instance, option: Option, rules: tuple[Rule, ...], *, stages: int = 1, spans: bool = False
) -> tuple[Rule, ...]:
    """Rules that an option breaks in a replica of that many stages; ``spans``: the replica spans nodes."""
    return tuple(_broken(instance, option, rules, stages=stages, spans=spans))


def keeping_rules(instance: Instance, options: Iterable[Option], rules: tuple[Rule, ...]) -> list[Option]:
    """Return the options that keep every rule of a replica of one stage inside a node."""
    found = list(options)
    for rule in sorted(rules, key=lambda rule: rule.name != "nodes"):  # leaves the fewest, and is tested at once
        if not rule.pipelines and not rule.spans:
            found = rule.keeping(instance, found)
    return found


def _broken(instance: Instance, option: Option, rules: tuple[Rule, ...], *, stages: int, spans: bool) -> Iterator[Rule]:
    held = (rule for rule in rules if (stages > 1 or not rule.pipelines) and (spans or not rule.spans))
    return (rule for rule in held if not rule.accepts(instance, option))


def runs_alone(instance: Instance, option: Option, rules: tuple[Rule, ...], *, spans: bool = False) -> bool:
    """Whether an option may only be the single stage of a replica; ``spans``: the replica spans nodes."""
    held = (rule for rule in rules if rule.pipelines and (spans or not rule.spans))
    return any(not rule.accepts(instance, option) for rule in held)
