"""Container images of the engines, and what a cluster calls the devices.

Sources: the projects' image pages (vllm/vllm-openai, vllm/vllm-openai-rocm, lmsysorg/sglang,
nvcr.io/nvidia/tensorrt-llm/release); labels of NVIDIA's GPU feature discovery (``nvidia.com/gpu.product``: the
product's name, spaces written as dashes).
"""

from __future__ import annotations

from collections.abc import Mapping

from shardproof.solver.exporters.release import release_of
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
    return pattern.format(release_of(unit.instance))


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
