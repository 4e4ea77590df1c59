"""requests: what curve an operation asks for, and at which sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shardproof.formulations.costs.operations import Operation, Shape
from shardproof.formulations.costs.pairs import prefill_pairs

_DTYPES = {
    "bf16": ("bfloat16", "float16"),
    "fp16": ("bfloat16", "float16"),
    "fp8": ("fp8_block", "fp8", "bfloat16"),
    "int8": ("int8_wo", "sq", "fp8", "bfloat16"),
    "int4": ("int4_wo", "bfloat16"),
    "nvfp4": ("nvfp4", "fp8_block", "fp8", "bfloat16"),
    "fp4": ("nvfp4", "fp8_block", "fp8", "bfloat16"),
    "mxfp4": ("w4a8_mxfp4_mxfp8", "w4a16_mxfp4", "nvfp4", "int4_wo", "bfloat16"),
}
_USUAL = ("bfloat16", "float16")
_MASKED = ("fp8_block",)
_ROUTED = (
    ("trtllm_alltoall", ("bfloat16",), ""),
    ("deepep_ll", ("default",), ""),
    ("moe_a2a", ("default", "bfloat16"), "deepep_ll"),
)
"""Exchanges of a decode step, as they are asked for: family, dtypes, kernel."""
_LATENT_HEAD_DIM = 576
_COLLECTIVES = {"all_gather": "nccl_all_gather", "all_to_all": "nccl_alltoall", "p2p": "p2p"}


@dataclass(frozen=True)
class Request:
    """A curve wanted: its key, the fixed sizes of its shape, its loads, and how many times it runs.

    ``stored``: dtype that the curve is read at, where it was measured at another one (its roofline moves, what it
    lost against it stays); ``otherwise``: what is asked where no such curve is.
    """

    family: str
    dtypes: tuple[str, ...]
    shape: tuple[tuple[str, float], ...]
    loads: tuple[float, ...]
    kv_dtype: str = ""
    kernel: str = ""
    scope: str = "node"
    times: float = 1.0
    stored: str = ""
    otherwise: Request | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What a choice of curve depends on."""
        return (self.family, *self.dtypes, self.kv_dtype, self.kernel, self.scope, self.stored)


def requests_of(operation: Operation, devices_per_node: int) -> tuple[Request, ...]:
    """Return the curves that together time an operation; none where no family does.

    Rows, sequences and messages may be arrays (`many`): the loads are arrays then, and all else is as for each entry.
    """
    shape, kind = operation.shape, operation.kind
    if kind in ("attention_prefill", "attention_decode"):
        return (_attention(operation, shape),)
    if kind == "gemm":
        sizes = _sizes(n=shape.n, k=shape.k)
        return (Request("gemm", _DTYPES.get(operation.dtype, _USUAL), sizes, (shape.m,)),)
    if kind == "grouped_gemm":
        return (_experts(operation, shape),)
    if kind == "linear_attention":
        return _recurrence(shape)
    if kind == "elementwise":
        return _norms(operation, shape)
    return _collective(operation, devices_per_node)


def _sizes(**sizes: float) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, float(size)) for name, size in sizes.items()))


def _attention(operation: Operation, shape: Shape) -> Request:
    prefill = operation.kind == "attention_prefill"
    loads = (shape.batch, float(max(shape.query, shape.context) if prefill else shape.context))
    times = _share_of_prompt(shape) if prefill else 1.0
    cache = "fp8" if operation.kv_dtype == "fp8" else "bfloat16"
    stage = "prefill" if prefill else "decode"
    if shape.head_dim >= _LATENT_HEAD_DIM:
        return Request(f"mla_{stage}", _USUAL, _sizes(heads=shape.heads), loads, kv_dtype=cache, times=times)
    sizes = _sizes(heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim, window=shape.window)
    return Request(f"attn_{stage}", _USUAL, sizes, loads, kv_dtype=cache, times=times)


def _share_of_prompt(shape: Shape) -> float:
    """Share of a whole prompt's (query, key) pairs that a chunk at its end has: curves know whole prompts."""
    if shape.context <= shape.query:
        return 1.0
    window = shape.window or None
    chunk = prefill_pairs(shape.query, shape.context - shape.query, window)
    return chunk / prefill_pairs(shape.context, 0, window)


def _experts(operation: Operation, shape: Shape) -> Request:
    sizes = _sizes(hidden=shape.k, inter=shape.n, topk=shape.topk, experts=shape.experts, tp=1, ep=max(1, shape.ranks))
    dtypes, loads = _DTYPES.get(operation.dtype, _USUAL), (shape.m,)
    fused = Request("moe", dtypes, sizes, loads)
    if not shape.dispatched:
        return fused
    own = dtypes[:1]
    lent = Request("moe_ep_decode", _MASKED, sizes, loads, stored=own[0], otherwise=fused)
    wide = Request("moe_wideep", own, sizes, loads, otherwise=lent)
    return Request("moe_ep_decode", own, sizes, loads, otherwise=wide)


def _recurrence(shape: Shape) -> tuple[Request, ...]:
    family = "gdn_context" if shape.query > 1 else "gdn_generation"
    sizes = _sizes(heads=shape.heads, kv_heads=shape.kv_heads or shape.heads, head_dim=shape.head_dim)
    loads = (shape.batch, float(shape.query))
    return tuple(Request(family, _USUAL, sizes, loads, kernel=kernel) for kernel in ("gated_delta_rule", "conv1d"))


def _norms(operation: Operation, shape: Shape) -> tuple[Request, ...]:
    if not np.all(shape.m) or not shape.n:
        return ()
    runs = operation.moved_bytes / (4 * shape.m * shape.n)
    sizes = _sizes(n=shape.n)
    return (Request("elementwise", ("float16",), sizes, (shape.m,), kernel="input_layernorm", times=runs),)


def _collective(operation: Operation, devices_per_node: int) -> tuple[Request, ...]:
    ranks, scope = operation.shape.ranks, "node" if operation.link == "scale_up" else "cross"
    if operation.link is None or ranks < 2 or (scope == "node" and ranks > devices_per_node):
        return ()
    custom = operation.kind == "all_reduce" and scope == "node"
    family = "custom_all_reduce" if custom else _COLLECTIVES.get(operation.kind, "nccl_all_reduce")
    dtypes = ("bfloat16",) if custom else ("half", "float16")
    plain = Request(family, dtypes, _sizes(ranks=ranks), (operation.message_bytes,), scope=scope)
    return (_routed(operation, plain) if operation.shape.dispatched else plain,)


def _routed(operation: Operation, plain: Request) -> Request:
    """Ask for the kernels that send tokens to their experts and bring the results back, in few large steps or none."""
    shape, found = operation.shape, plain
    sizes = _sizes(hidden=shape.k, topk=shape.topk, experts=shape.experts, ranks=shape.ranks)
    for family, dtypes, kernel in reversed(_ROUTED):
        name = f"{family}_{operation.name}"
        found = Request(name, dtypes, sizes, (shape.m,), kernel=kernel, scope=plain.scope, otherwise=found)
    return found
