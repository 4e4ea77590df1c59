"""Vision towers: how many parameters a checkpoint loads beside its text decoder.

Each tower is one small formula; a tower that is not on the list is left out, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable

from shardproof.instances.huggingface.config import Config


def count_tower(config: Config) -> tuple[int, tuple[str, ...]]:
    """Return the parameters of the vision tower and its projector, and what is to be said about them."""
    section = config.section("vision_config")
    if not section:
        return 0, ()
    vision = Config(fields=section, where=f"{config.where}: vision_config")
    kind = vision.word("model_type") or ""
    if kind not in TOWERS:
        return 0, ("the vision tower is not counted; text requests never use it",)
    count = TOWERS[kind](vision, config)
    return count, (f"the vision tower ({count:,} parameters) is loaded, but text requests never use it",)


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _qwen3(vision: Config, config: Config) -> int:
    """Qwen3-VL and Qwen3.5: learned positions, biased blocks, one merger and those of deep-stacked layers."""
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    merged = width * vision.integer("spatial_merge_size", default=2) ** 2
    out = vision.integer("out_hidden_size", default=config.hidden)
    channels = vision.integer("in_channels", default=3)
    patch = channels * vision.integer("temporal_patch_size", default=2) * vision.integer("patch_size") ** 2
    block = _linear(width, 3 * width) + _linear(width, width)
    block += _linear(width, inner) + _linear(inner, width) + 4 * width
    merger = _linear(merged, merged) + _linear(merged, out)
    stacked = len(vision.numbers("deepstack_visual_indexes") or ())
    return (
        _linear(patch, width)
        + vision.integer("num_position_embeddings") * width
        + vision.integer("depth") * block
        + merger
        + 2 * width
        + stacked * (merger + 2 * merged)
    )


def _siglip(vision: Config, config: Config) -> int:
    """SigLIP as in Gemma 3: learned positions, biased blocks, a final norm, a normed projection."""
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    patch = vision.integer("patch_size")
    positions = (vision.integer("image_size") // patch) ** 2
    block = 4 * _linear(width, width) + _linear(width, inner) + _linear(inner, width) + 4 * width
    projector = width + width * config.hidden
    return (
        _linear(3 * patch * patch, width)
        + positions * width
        + vision.integer("num_hidden_layers") * block
        + 2 * width
        + projector
    )


def _pixtral(vision: Config, config: Config) -> int:
    """Pixtral as in Mistral 3: no biases, gated blocks, a patch merger and a two-layer projector."""
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    patch = vision.integer("patch_size")
    block = 4 * width * width + 3 * width * inner + 2 * width
    merge = config.integer("spatial_merge_size", default=2) ** 2
    projector = width + merge * width * width + width * config.hidden + config.hidden**2
    return 3 * patch * patch * width + width + vision.integer("num_hidden_layers") * block + projector


def _llama4(vision: Config, config: Config) -> int:
    """Llama 4: a class embedding, biased blocks, an adapter and a projector without biases."""
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    patch = vision.integer("patch_size")
    positions = (vision.integer("image_size") // patch) ** 2 + 1
    block = 4 * _linear(width, width) + _linear(width, inner) + _linear(inner, width) + 4 * width
    adapter = inner * vision.integer("projector_input_dim") + vision.integer("projector_output_dim") ** 2
    return (
        3 * patch * patch * width
        + width
        + positions * width
        + 4 * width
        + vision.integer("num_hidden_layers") * block
        + adapter
        + vision.integer("vision_output_dim") * config.hidden
    )


def _gemma4(vision: Config, config: Config) -> int:
    """Gemma 4: two position tables, gated blocks without biases, q and k norms, four norms a block."""
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    patch = vision.integer("patch_size")
    head = vision.integer("head_dim", default=width // vision.integer("num_attention_heads"))
    heads = vision.integer("num_attention_heads") * head
    block = 4 * width * heads + 2 * head + 3 * width * inner + 4 * width
    positions = 2 * vision.integer("position_embedding_size") * width
    return 3 * patch * patch * width + positions + vision.integer("num_hidden_layers") * block + width * config.hidden


TOWERS: dict[str, Callable[[Config, Config], int]] = {
    "qwen3_vl": _qwen3,
    "qwen3_vl_moe": _qwen3,
    "qwen3_5": _qwen3,
    "qwen3_5_vision": _qwen3,
    "qwen3_5_moe_vision": _qwen3,
    "qwen3_5_moe": _qwen3,
    "siglip_vision_model": _siglip,
    "pixtral": _pixtral,
    "llama4_vision_model": _llama4,
    "gemma4_vision": _gemma4,
}
