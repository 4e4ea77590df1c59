"""Which engines guess tokens ahead with which layouts: rules on an instance's speculative decoding.

An audit may know of no speculative decoding at all, so that every test asks for it by name.
"""

from __future__ import annotations

from shardproof.formulations.costs.engine_profiles import version_key
from shardproof.formulations.costs.sharding import kv_heads_of
from shardproof.formulations.costs.speculative import draft_layers
from shardproof.formulations.engines.rule import Rule
from shardproof.instances.instance import Instance
from shardproof.instances.layers import DenseFeedForward, GroupedQueryAttention, LatentAttention, MixtureOfExperts
from shardproof.instances.option import Option
from shardproof.instances.speculative import Speculation
from shardproof.instances.workload import Phased

EAGLE3_PIPELINES_SINCE = (0, 16)
"""vLLM's first release whose pipelines take EAGLE-3 (docs: no speculative decoding in pipelines up to 0.15.0)."""
DRAFT_MODELS_SINCE = (0, 10, 1)
"""vLLM's first release of its present runner that takes a draft model (docs: not up to 0.10.0)."""


def speculation_of(instance: Instance) -> Speculation | None:
    """Return the speculative decoding of an instance, or of what an audit knows of one."""
    found: Speculation | None = getattr(instance, "speculative", None)
    return found


def _version(instance: Instance) -> tuple[int, ...]:
    told = instance.engine_settings.version
    return (10**6,) if told is None else version_key(told)


def divides_draft(instance: Instance, option: Option) -> bool:
    """Whether what guesses is cut evenly, as the model is."""
    speculation = speculation_of(instance)
    if speculation is None or speculation.draft is None:
        return True
    for layer in draft_layers(speculation.draft):
        attention, ffn = layer.attention, layer.feed_forward
        if isinstance(attention, GroupedQueryAttention | LatentAttention) and attention.heads % option.attn_tp:
            return False
        groups = kv_heads_of(attention) if isinstance(attention, GroupedQueryAttention) else 1
        if groups > 1 and groups % option.attn_tp and option.attn_tp % groups:
            return False
        if isinstance(ffn, DenseFeedForward) and ffn.intermediate % option.attn_tp:
            return False
        if isinstance(ffn, MixtureOfExperts) and (ffn.intermediate % option.moe_tp or ffn.experts < option.moe_ep):
            return False
    return True


def in_vllm_pipelines(instance: Instance, option: Option) -> bool:
    """Whether vLLM guesses in pipelines: with EAGLE-3 alone."""
    del option
    speculation = speculation_of(instance)
    return speculation is None or (speculation.method == "eagle3" and _version(instance) >= EAGLE3_PIPELINES_SINCE)


def in_no_pipelines(instance: Instance, option: Option) -> bool:
    """Whether nothing is guessed, so that pipelines may be run."""
    del option
    return speculation_of(instance) is None


def in_whole_rounds(instance: Instance, option: Option) -> bool:
    """Whether modules that take turns do so equally often."""
    del option
    speculation = speculation_of(instance)
    if speculation is None or speculation.draft is None or speculation.method != "mtp":
        return True
    turns = speculation.draft.turns
    return speculation.guesses <= turns or speculation.guesses % turns == 0


def has_draft_models(instance: Instance, option: Option) -> bool:
    """Whether vLLM's version takes a draft model."""
    del option
    speculation = speculation_of(instance)
    return speculation is None or speculation.method != "draft" or _version(instance) >= DRAFT_MODELS_SINCE


def without_attention_dp(instance: Instance, option: Option) -> bool:
    """Whether SGLang's draft models and n-grams run without data-parallel attention."""
    speculation = speculation_of(instance)
    return speculation is None or speculation.method not in ("draft", "ngram") or option.attn_dp == 1


def has_new_heads(instance: Instance, option: Option) -> bool:
    """Whether a head is one of EAGLE-3, where there is any."""
    del option
    speculation = speculation_of(instance)
    return speculation is None or speculation.method != "eagle"


def drafts_together(instance: Instance, option: Option) -> bool:
    """Whether models and n-grams beside the engine's own guess on replicas that serve both phases."""
    del option
    speculation = speculation_of(instance)
    loads = (scenario.workload for scenario in getattr(instance, "scenarios", ()))
    apart = any(isinstance(load, Phased) and load.phase != "both" for load in loads)
    return speculation is None or speculation.method not in ("draft", "ngram") or not apart


DRAFT_SHARDS = Rule(
    "draft-shards",
    "what guesses tokens ahead is cut as the model is: attn_tp divides its heads and widths (moe_tp its experts')",
    divides_draft,
    reads=("attn_tp", "moe_tp", "moe_ep"),
    source="vLLM v1/spec_decode/draft_model.py, _raise_if_draft_tp_mismatch (one TP for both), and the checks of the "
    "model's own heads and widths; SGLang speculative/eagle_worker.py runs the draft on the target's ranks",
)
ONE_STAGE = Rule(
    "guesses-one-stage",
    "tokens are guessed ahead in one stage",
    in_no_pipelines,
    reads=(),
    pipelines=True,
    source="SGLang server_args.py refuses both together; pull request 30775 lifts it behind SGLANG_ENABLE_PP_SPEC; "
    "TensorRT-LLM issue 9009 (open): _torch/pyexecutor/py_executor.py raises NotImplementedError",
)
OF_VLLM = (
    Rule(
        "guesses-in-pipelines",
        "tokens are guessed ahead in one stage (by EAGLE-3 in several since 0.16)",
        in_vllm_pipelines,
        reads=(),
        pipelines=True,
        source="vLLM docs/features/speculative_decoding/README.md (none in pipelines up to 0.15.0), pull request "
        "55623 (EAGLE-3), issues 49355 and 57755 (open: MTP in pipelines of 0.25 to 0.29)",
    ),
    Rule(
        "whole-rounds",
        "prediction modules guess equally often: draft tokens are no more than they are, or a multiple",
        in_whole_rounds,
        reads=(),
        source="vLLM config/speculative.py, SpeculativeConfig (num_speculative_tokens is divisible by n_predict)",
    ),
    Rule(
        "draft-models",
        "versions up to 0.10.0 take no draft model",
        has_draft_models,
        reads=(),
        source="vLLM docs/features/speculative_decoding/README.md, Known Feature Incompatibility",
    ),
)
OF_SGLANG = (
    ONE_STAGE,
    Rule(
        "guesses-attention-dp",
        "draft models and n-grams guess without data-parallel attention",
        without_attention_dp,
        reads=("attn_dp",),
        source="SGLang arg_groups/speculative_hook.py, _handle_eagle_family (STANDALONE) and _handle_ngram",
    ),
)
OF_TRTLLM = (
    ONE_STAGE,
    Rule(
        "new-heads",
        "heads that guess are those of EAGLE-3",
        has_new_heads,
        reads=(),
        source="TensorRT-LLM docs/source/features/speculative-decoding.md (EAGLE v1 and v2 are incompatible)",
    ),
    Rule(
        "guesses-together",
        "draft models and n-grams guess on replicas that serve both phases",
        drafts_together,
        reads=(),
        source="TensorRT-LLM _torch/pyexecutor/py_executor.py: drafting is not supported for disaggregated loops",
    ),
)
