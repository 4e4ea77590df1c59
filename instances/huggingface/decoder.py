"""What a reader returns, and how a list of layers becomes named kinds and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shardproof.instances.layers import CompressedAttention, GroupedQueryAttention, Layer
from shardproof.instances.model import DType, LayerRun

LONGEST_PATTERN = 16


@dataclass(frozen=True)
class Decoder:
    """The layers of a text decoder, first to last, and what stands around them.

    ``kv_dtype``: of the cache, where engines keep it so whatever the checkpoint is stored in.
    """

    layers: tuple[Layer, ...]
    final_norm_parameters: int
    kv_dtype: DType | None = None
    residual_streams: int = 1


def name_kinds(layers: Sequence[Layer]) -> tuple[dict[str, Layer], tuple[str, ...]]:
    """Name the distinct layers; return the kinds, and the kind of every layer."""
    names: dict[Layer, str] = {}
    for layer in layers:
        if layer not in names:
            wanted = _label(layer)
            taken = sum(name == wanted or name.startswith(f"{wanted}#") for name in names.values())
            names[layer] = wanted if not taken else f"{wanted}#{taken + 1}"
    return {name: layer for layer, name in names.items()}, tuple(names[layer] for layer in layers)


def _label(layer: Layer) -> str:
    attention = {"mla": "latent", "linear": "linear", "none": ""}.get(layer.attention.kind, "full")
    if isinstance(layer.attention, GroupedQueryAttention) and layer.attention.window is not None:
        attention = "sliding"
    if isinstance(layer.attention, CompressedAttention):
        attention = f"compressed-{layer.attention.ratio}" if layer.attention.ratio else "sliding"
    feed_forward = "" if layer.feed_forward.kind == "none" else layer.feed_forward.kind
    return "-".join(part for part in (attention, feed_forward) if part) or "empty"


def fold_runs(kinds: Sequence[str]) -> tuple[LayerRun, ...]:
    """Fold the kinds of all layers into repeated patterns, first to last."""
    runs: list[LayerRun] = []
    start = 0
    while start < len(kinds):
        length, repeat = max(
            ((width, _repeats(kinds, start, width)) for width in range(1, LONGEST_PATTERN + 1)),
            key=lambda run: (run[0] * run[1] if run[1] > 1 else 1, -run[0]),
        )
        if repeat <= 1:
            length, repeat = 1, 1
        runs.append(LayerRun(pattern=tuple(kinds[start : start + length]), repeat=repeat))
        start += length * repeat
    return tuple(runs)


def _repeats(kinds: Sequence[str], start: int, width: int) -> int:
    pattern = kinds[start : start + width]
    count = 0
    while len(pattern) == width and kinds[start + count * width : start + (count + 1) * width] == pattern:
        count += 1
    return count
