"""What an engine accepts, as readable rules: each is a name, a sentence and a test on one option.

``any`` holds what no engine can escape: equal shards of heads and intermediate dimensions, an expert on every
expert-parallel rank, and stages that fill nodes evenly. Each engine adds its own rules to these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shardproof.instances.instance import Instance
from shardproof.instances.layers import (
    DenseFeedForward,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    LinearAttention,
    MixtureOfExperts,
)
from shardproof.instances.option import Option


@dataclass(frozen=True)
class Rule:
    """One rule: ``accepts`` judges an option; ``uniform`` rules bind all stages to one option."""

    name: str
    sentence: str
    accepts: Callable[[Instance, Option], bool]
    uniform: bool = False


def _layers(instance: Instance) -> Iterator[Layer]:
    return iter(instance.model.kinds.values())


def _experts(instance: Instance) -> Iterator[MixtureOfExperts]:
    return (layer.feed_forward for layer in _layers(instance) if isinstance(layer.feed_forward, MixtureOfExperts))


def has_experts(instance: Instance) -> bool:
    """Whether any layer routes tokens to experts."""
    return any(True for _ in _experts(instance))


def _either_divides(left: int, right: int) -> bool:
    return left % right == 0 or right % left == 0


def _heads_divide(instance: Instance, option: Option) -> bool:
    kinds = (GroupedQueryAttention, LatentAttention, LinearAttention)
    attentions = (layer.attention for layer in _layers(instance))
    return all(attention.heads % option.attn_tp == 0 for attention in attentions if isinstance(attention, kinds))


def _kv_heads_divide(instance: Instance, option: Option) -> bool:
    for layer in _layers(instance):
        attention = layer.attention
        if isinstance(attention, GroupedQueryAttention) and not _either_divides(attention.kv_heads, option.attn_tp):
            return False
        if isinstance(attention, LinearAttention) and not _either_divides(attention.key_heads, option.attn_tp):
            return False
    return True


def _widths(instance: Instance, option: Option) -> Iterator[tuple[int, int, str]]:
    """Yield (intermediate width, ranks that cut it, tensor class) of every feed-forward part."""
    for layer in _layers(instance):
        ffn = layer.feed_forward
        if isinstance(ffn, DenseFeedForward):
            yield ffn.intermediate, option.attn_tp, "dense_ffn"
        if isinstance(ffn, MixtureOfExperts):
            yield ffn.intermediate, option.moe_tp, "experts"
            yield ffn.shared_intermediate, option.attn_tp, "dense_ffn"
            yield ffn.dense_intermediate, option.attn_tp, "dense_ffn"


def _intermediate_divides(instance: Instance, option: Option) -> bool:
    return all(width % ranks == 0 for width, ranks, _ in _widths(instance, option))


def _expert_on_every_rank(instance: Instance, option: Option) -> bool:
    if not has_experts(instance):
        return option.moe_ep == 1
    return all(option.moe_ep <= experts.experts for experts in _experts(instance))


def _fills_nodes(instance: Instance, option: Option) -> bool:
    return _either_divides(instance.device.devices_per_node, option.gpus) and (
        option.gpus <= instance.device.devices_per_node or option.gpus % instance.device.devices_per_node == 0
    )


def _whole_blocks(instance: Instance, option: Option) -> bool:
    for width, ranks, tensor_class in _widths(instance, option):
        stored = instance.model.formats.of(tensor_class)  # type: ignore[arg-type]
        if stored.block is not None and ranks > 1 and width and (width // ranks) % stored.block[0]:
            return False
    return True


def _ep_is_tp_times_dp(instance: Instance, option: Option) -> bool:
    return not has_experts(instance) or option.moe_ep in (1, option.gpus)


def _attention_dp_all_or_none(instance: Instance, option: Option) -> bool:
    del instance
    return option.attn_dp in (1, option.gpus)


def _always(instance: Instance, option: Option) -> bool:
    del instance, option
    return True


PHYSICAL: tuple[Rule, ...] = (
    Rule("heads", "attn_tp divides the number of query heads", _heads_divide),
    Rule("kv-heads", "KV heads are divisible by attn_tp, or the reverse", _kv_heads_divide),
    Rule("ffn-width", "tensor-parallel ranks divide the intermediate widths", _intermediate_divides),
    Rule(
        "experts",
        "every expert-parallel rank holds at least one expert (moe_ep = 1 without experts)",
        _expert_on_every_rank,
    ),
    Rule("nodes", "a stage's GPUs divide a node's, or are whole nodes", _fills_nodes),
)

UNIFORM = Rule(
    "uniform-stages", "every stage runs the same widths (the engine has one TP, DP and EP size)", _always, uniform=True
)
WHOLE_BLOCKS = Rule(
    "whole-blocks", "a sharded dimension of block-quantised weights stays a multiple of the block", _whole_blocks
)

ENGINES: dict[str, tuple[Rule, ...]] = {
    "any": (),
    "vllm": (
        UNIFORM,
        WHOLE_BLOCKS,
        Rule("ep-is-tp-dp", "expert parallelism is off, or spans all of TP x DP", _ep_is_tp_times_dp),
    ),
    "sglang": (UNIFORM, WHOLE_BLOCKS),
    "trtllm": (
        UNIFORM,
        WHOLE_BLOCKS,
        Rule("attention-dp", "attention is either all tensor-parallel or all data-parallel", _attention_dp_all_or_none),
    ),
}


def rules_of(engine: str) -> tuple[Rule, ...]:
    """Every rule that holds for an engine, the physical ones first."""
    return PHYSICAL + ENGINES[engine]


def broken_rules(instance: Instance, option: Option, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Rules that an option breaks."""
    return tuple(rule for rule in rules if not rule.accepts(instance, option))
