"""What an engine's kernels run on and with: devices by compute capability, blocks and dtypes of the cache.

Only NVIDIA's architectures have a capability here; for other devices nothing is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from shardproof.formulations.costs.engine_profiles import find_profile, version_key
from shardproof.formulations.engines.told import longest_request
from shardproof.instances.formats import TensorFormat
from shardproof.instances.instance import Instance
from shardproof.instances.layers import CompressedAttention, LatentAttention
from shardproof.instances.option import Option

CAPABILITY: Mapping[str, int] = {
    "Volta": 70,
    "Turing": 75,
    "Ampere": 80,
    "Ada": 89,
    "Hopper": 90,
    "Blackwell": 100,
    "Blackwell Ultra": 103,
    "Blackwell (SM120)": 120,
}
"""Compute capability by architecture."""

LEAST: Mapping[str, Mapping[str, int]] = {
    "vllm": {"awq": 75, "fp8": 75, "modelopt": 75, "compressed-tensors": 75, "fbgemm_fp8": 80, "mxfp4": 80},
    "sglang": {"awq": 75, "fp8": 80, "mxfp4": 80, "compressed-tensors": 75},
    "trtllm": {},
}
"""Least capability by engine and quantisation method, as their ``get_min_capability`` says."""

LEAST_BY_DTYPE: Mapping[str, Mapping[str, int]] = {
    "vllm": {"fp8": 75, "nvfp4": 75, "mxfp4": 80},
    "sglang": {"fp8": 80, "nvfp4": 80, "mxfp4": 80},
    "trtllm": {"fp8": 89, "mxfp4": 90, "nvfp4": 100},
}
"""Least capability by engine and dtype of the weights, whatever the method."""

SPARSE_SINCE = 90
"""Capability from which on kernels for selected tokens exist (FlashMLA sparse, and those of DeepSeek-V4)."""

SPARSE_SM120_SINCE = (0, 20)
"""vLLM's releases before this one have none for capability 12.x (issues 31480 and 31936)."""

BLOCK, SPARSE_BLOCK, COMPRESSED_BLOCK = 16, 64, 256
"""Tokens of which a block of vLLM's cache is a multiple: of any kernel, of selected tokens, of compressed entries."""


def _capability(instance: Instance) -> int | None:
    """Capability of the device (``None``: not NVIDIA's, or not known)."""
    return CAPABILITY.get(getattr(instance.device, "architecture", ""))


def runs_weights(instance: Instance, option: Option) -> bool:
    """Whether the device runs the engine's kernels for weights that are stored so."""
    del option
    found = _capability(instance)
    if found is None:
        return True
    least = LEAST[instance.engine].get(instance.model.quant_method or "", 0)
    by_dtype = LEAST_BY_DTYPE[instance.engine]
    return found >= max(least, *(by_dtype.get(stored.dtype, 0) for stored in _stored(instance)))


def _stored(instance: Instance) -> Iterator[TensorFormat]:
    for formats in (instance.model.formats, *(layer.formats for layer in instance.model.kinds.values())):
        if formats is not None:
            yield from (formats.attention, formats.dense_ffn, formats.experts)


def _selects(instance: Instance) -> bool:
    attentions = [layer.attention for layer in instance.model.kinds.values()]
    latent = any(isinstance(part, LatentAttention) and part.selected_tokens is not None for part in attentions)
    return latent or _is_compressed(instance)


def _is_compressed(instance: Instance) -> bool:
    return any(isinstance(layer.attention, CompressedAttention) for layer in instance.model.kinds.values())


def runs_sparse(instance: Instance, option: Option) -> bool:
    """Whether the device runs the engine's kernels for attention to selected tokens."""
    del option
    found = _capability(instance)
    if found is None or not _selects(instance):
        return True
    version = instance.engine_settings.version
    old = instance.engine == "vllm" and version is not None and version_key(version) < SPARSE_SM120_SINCE
    return found >= SPARSE_SINCE and not (old and found >= 120)


def has_kernel_blocks(instance: Instance, option: Option) -> bool:
    """Whether the stated block of the cache is one that a kernel of the engine takes."""
    del option
    told = instance.engine_settings.block_size
    if told is None:
        return True
    if instance.engine == "trtllm":
        return told & (told - 1) == 0
    compressed = COMPRESSED_BLOCK if _is_compressed(instance) else BLOCK
    return told % max(compressed, SPARSE_BLOCK if _selects(instance) else BLOCK) == 0


def keeps_cache_dtype(instance: Instance, option: Option) -> bool:
    """Whether compressed entries are kept in 8 bits, the only layout that kernels read."""
    del option
    return instance.model.kv_dtype == "fp8" or not _is_compressed(instance)


def cuts_prompts(instance: Instance, option: Option) -> bool:
    """Whether an iteration holds the longest request, in versions that do not cut prompts into chunks."""
    del option
    told, settings = instance.engine_settings.max_num_batched_tokens, instance.engine_settings
    if told is None or find_profile(instance.engine, settings.version).chunked_prefill:
        return True
    return told >= longest_request(instance)


def divides_compressed_experts(instance: Instance, option: Option) -> bool:
    """Whether the ranks share out the experts evenly where vLLM's DeepSeek-V4 layers ask for it."""
    if not _is_compressed(instance) or option.extra_slots:
        return True
    parts = (layer.feed_forward for layer in instance.model.kinds.values())
    return all(getattr(part, "experts", option.moe_ep) % option.moe_ep == 0 for part in parts)
