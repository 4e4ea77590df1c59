"""Container images of the engines, and what a cluster calls the devices.

Sources: the projects' image pages (vllm/vllm-openai, vllm/vllm-openai-rocm, lmsysorg/sglang,
nvcr.io/nvidia/tensorrt-llm/release); labels of NVIDIA's GPU feature discovery (``nvidia.com/gpu.product``: the
product's name, spaces written as dashes).
"""

from __future__ import annotations

from collections.abc import Mapping

from shardproof.formulations.costs.engine_profiles import default_version, find_profile
from shardproof.formulations.engines.told import account_of
from shardproof.solver.exporters.contract import contract
from shardproof.solver.exporters.text import cannot
from shardproof.solver.exporters.units import Unit

NVIDIA = "nvidia.com/gpu"
AMD = "amd.com/gpu"

PRODUCTS: Mapping[str, str] = {
    "a100-40-sxm": "NVIDIA-A100-SXM4-40GB",
    "a100-80-sxm": "NVIDIA-A100-SXM4-80GB",
    "a100-80-pcie": "NVIDIA-A100-80GB-PCIe",
    "a10g": "NVIDIA-A10G",
    "b200-sxm": "NVIDIA-B200",
    "gb200-nvl72": "NVIDIA-GB200",
    "gb300-nvl72": "NVIDIA-GB300",
    "h100-nvl": "NVIDIA-H100-NVL",
    "h100-pcie": "NVIDIA-H100-PCIe",
    "h100-sxm": "NVIDIA-H100-80GB-HBM3",
    "h20-sxm": "NVIDIA-H20",
    "h200-sxm": "NVIDIA-H200",
    "l20": "NVIDIA-L20",
    "l4": "NVIDIA-L4",
    "l40s": "NVIDIA-L40S",
    "rtx-3090": "NVIDIA-GeForce-RTX-3090",
    "rtx-4090": "NVIDIA-GeForce-RTX-4090",
    "rtx-5090": "NVIDIA-GeForce-RTX-5090",
}
"""Label of each SKU; where none is known, the cluster's own label has to be filled in."""

_IMAGES: Mapping[str, Mapping[str, str]] = {
    "NVIDIA": {
        "vllm": "vllm/vllm-openai:v{}",
        "sglang": "lmsysorg/sglang:v{}",
        "trtllm": "nvcr.io/nvidia/tensorrt-llm/release:{}",
    },
    "AMD": {"vllm": "vllm/vllm-openai-rocm:v{}"},
}

_WHOLE = {"trtllm": "1.1.0"}
"""Tags where the contract names a series."""


def version_of(unit: Unit) -> str:
    """Return the engine's version: as the plan's question names it, else that of the contract."""
    stated = unit.instance.engine_settings.version
    return stated.lstrip("v") if stated else _WHOLE.get(unit.engine, contract(unit.engine)[0])


def release_note(unit: Unit) -> str | None:
    """Say on which release the plan's memory was accounted where the files start another one (``None``: the same)."""
    account, starts = account_of(unit.instance), version_of(unit)
    planned = unit.instance.engine_settings.version or default_version(unit.engine)
    if find_profile(unit.engine, starts) is account.profile:
        return None
    return (
        f"memory was accounted as of {unit.engine} {planned}, these files start {starts}, whose account differs: "
        f"plan with --engine {unit.engine}@{starts}, or run {unit.engine} {planned}"
    )


def image_of(unit: Unit, target: str) -> str:
    """Return the image of the unit's engine.

    Raises
    ------
    InputError
        If none is known for the device's vendor.
    """
    pattern = _IMAGES.get(unit.device.vendor, {}).get(unit.engine)
    if pattern is None:
        reason = f"no container image of {unit.engine} for {unit.device.name} is known here; start it without one"
        raise cannot(target, reason, field="device")
    return pattern.format(version_of(unit))


def resource_of(unit: Unit, target: str) -> str:
    """Return the name under which a cluster lends the devices.

    Raises
    ------
    InputError
        If none is known for the device's vendor.
    """
    found = {"NVIDIA": NVIDIA, "AMD": AMD}.get(unit.device.vendor)
    if found is None:
        reason = f"the resource name of {unit.device.name} in a cluster is not known here"
        raise cannot(target, reason, field="device")
    return found


def selector_of(unit: Unit) -> dict[str, str]:
    """Return the label of the nodes that hold the device; empty where it is not known."""
    product = PRODUCTS.get(unit.device.name)
    return {} if product is None else {f"{NVIDIA}.product": product}
