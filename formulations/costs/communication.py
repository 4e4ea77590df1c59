r"""communication: the collectives of one layer, and the hand-over between stages.

all-reduce over attn_tp after attention, and after a dense (or shared) feed-forward; over moe_tp after the
experts, on the tokens that its moe_ep rank owns; dispatch and combine all-to-all over moe_ep; point-to-point
of one rank's hidden states between stages. A group lies on the scale-up link if it fits into one node,
otherwise on the scale-out link; tensor-parallel ranks are neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.operations import LinkName, Operation, OperationKind, Shape
from shardproof.formulations.costs.sharding import dense_matrices, dispatched, divide_up, element_bytes
from shardproof.instances.layers import Layer, MixtureOfExperts
from shardproof.instances.model import Model
from shardproof.instances.option import Option


def layer_collectives(
    model: Model, layer: Layer, option: Option, step: Step, *, dtype: str, devices_per_node: int
) -> Iterator[Operation]:
    """Collectives of one layer on one device."""
    yield from own_collectives(model, layer, option, step, dtype=dtype, devices_per_node=devices_per_node)
    yield from expert_collectives(model, layer, option, step, dtype=dtype, devices_per_node=devices_per_node)


def own_collectives(
    model: Model, layer: Layer, option: Option, step: Step, *, dtype: str, devices_per_node: int
) -> Iterator[Operation]:
    """Those of a layer's collectives that depend on attn_tp and the rows of one attention replica alone."""
    rows, tensor = step.rows(option), option.attn_tp
    reduction = _collective(model, "all-reduce", rows, dtype, _link(tensor, devices_per_node), Shape(ranks=tensor))
    if tensor > 1 and layer.attention.kind != "none":
        yield reduction
    if tensor > 1 and dense_matrices(layer.feed_forward, model.hidden):
        yield reduction


def expert_collectives(
    model: Model, layer: Layer, option: Option, step: Step, *, dtype: str, devices_per_node: int
) -> Iterator[Operation]:
    """Those that depend on moe_tp, moe_ep, the tokens of the stage, and on whether replicas have others'."""
    if not isinstance(layer.feed_forward, MixtureOfExperts) or option.gpus == 1:
        return
    whole = step.group_rows(option)
    if option.moe_tp > 1:
        owned = divide_up(whole, option.moe_ep)
        link = _link(option.moe_tp, devices_per_node)
        yield _collective(model, "experts all-reduce", owned, dtype, link, Shape(ranks=option.moe_tp))
    if option.moe_ep > 1:
        copies = min(layer.feed_forward.topk, option.moe_ep)
        sent = divide_up(whole * copies, option.gpus)
        shape = _exchange(model, layer.feed_forward, option, step)
        for name in ("dispatch", "combine"):
            yield _collective(model, name, sent, dtype, _link(option.gpus, devices_per_node), shape)


def _link(span: int, devices_per_node: int) -> LinkName:
    return "scale_up" if span <= devices_per_node else "scale_out"


_KINDS: dict[str, OperationKind] = {
    "all-reduce": "all_reduce",
    "experts all-reduce": "all_reduce",
    "dispatch": "all_to_all",
    "combine": "all_to_all",
}


def _collective(model: Model, name: str, tokens: int, dtype: str, link: LinkName, shape: Shape) -> Operation:
    return Operation(
        name=name,
        kind=_KINDS[name],
        message_bytes=element_bytes(tokens * model.hidden, dtype),
        dtype=dtype,
        link=link,
        shape=shape,
    )


def _exchange(model: Model, experts: MixtureOfExperts, option: Option, step: Step) -> Shape:
    return Shape(
        m=divide_up(step.group_rows(option), option.gpus),
        k=model.hidden,
        experts=experts.experts,
        topk=experts.topk,
        ranks=option.moe_ep,
        dispatched=dispatched(experts, option, decode=step.phase == "decode"),
    )


def hand_over(model: Model, option: Option, step: Step, *, dtype: str, link: LinkName) -> Operation:
    """Return what a stage receives from the one before it: the hidden states of one attention-DP rank."""
    return Operation(
        name="point-to-point",
        kind="p2p",
        message_bytes=element_bytes(step.rows(option) * model.hidden * model.residual_streams, dtype),
        dtype=dtype,
        link=link,
        shape=Shape(ranks=2),
    )
