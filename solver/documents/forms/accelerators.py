"""Devices that manifests name: node labels, accelerator types and instance types of clouds.

Sources: labels of NVIDIA's GPU feature discovery (``nvidia.com/gpu.product``), GKE's
``cloud.google.com/gke-accelerator``, CoreWeave's ``gpu.nvidia.com/model``, and the providers' lists of
instance types with their GPUs.
"""

from __future__ import annotations

import re

from shardproof.solver.documents.tree import Node

LABELS = frozenset({
    "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "gpu.nvidia.com/model", "gpu.nvidia.com/class",
    "node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type", "amd.com/gpu.product-name", "accelerator",
    "karpenter.k8s.aws/instance-gpu-name", "eks.amazonaws.com/instance-gpu-name", "gpu-type", "gpu.type",
    "nvidia.com/gpu-type", "gpu", "accelerator-type",
})  # fmt: skip
INSTANCE_TYPES: tuple[tuple[str, str], ...] = (
    (r"p4d\.24xlarge", "A100 40GB SXM"), (r"p4de\.24xlarge", "A100 80GB SXM"), (r"p5\.\d*xlarge", "H100 SXM"),
    (r"p5en?\.48xlarge", "H200 SXM"), (r"p6-b200\.48xlarge", "B200 SXM"), (r"g5\.\d*xlarge", "A10G"),
    (r"g6\.\d*xlarge", "L4"), (r"g6e\.\d*xlarge", "L40S"), (r"a3-(?:high|mega|edge)gpu-\d+g", "H100 SXM"),
    (r"a3-ultragpu-8g", "H200 SXM"), (r"a2-highgpu-\d+g", "A100 40GB SXM"), (r"a2-ultragpu-\d+g", "A100 80GB SXM"),
    (r"a4-highgpu-8g", "B200 SXM"), (r"g2-standard-\d+", "L4"), (r"Standard_ND96isr_H100_v5", "H100 SXM"),
    (r"Standard_ND96isr_H200_v5", "H200 SXM"), (r"Standard_ND96amsr_A100_v4", "A100 80GB SXM"),
    (r"Standard_NC\d+ads_A100_v4", "A100 80GB PCIe"), (r"Standard_NC\d+adi?s_H100_v5", "H100 NVL"),
)  # fmt: skip
GPU_RESOURCES = frozenset({
    "nvidia.com/gpu", "amd.com/gpu", "gpu", "habana.ai/gaudi", "google.com/tpu", "gpu.intel.com/i915",
    "gpu.intel.com/xe", "nvidia.com/gpu.shared",
})  # fmt: skip
_SPELLED = (
    (r"nvidia-tesla-a100", "A100 40GB SXM"), (r"nvidia-a100-80gb", "A100 80GB SXM"), (r"nvidia-h100-80gb", "H100 SXM"),
    (r"nvidia-h100-mega-80gb", "H100 SXM"), (r"nvidia-h200-141gb", "H200 SXM"), (r"nvidia-b200", "B200 SXM"),
    (r"NVIDIA-H100-80GB-HBM3", "H100 SXM"),
    (r"nvidia-l4", "L4"), (r"H100_NVLINK_80GB", "H100 SXM"), (r"A100_NVLINK_80GB", "A100 80GB SXM"),
    (r"A100_NVLINK", "A100 40GB SXM"), (r"H100_NVLINK", "H100 SXM"),
)  # fmt: skip


def device_of_label(key: str, value: str) -> str:
    """Return the device that a node label names, as people write it; empty where it names none."""
    if key not in LABELS or not value:
        return ""
    for pattern, device in (*INSTANCE_TYPES, *_SPELLED):
        if re.fullmatch(pattern, value, re.I):
            return device
    if "instance-type" in key:
        return ""
    text = re.sub(r"(?i)-?HBM\d?e?|-?SHARED|NVIDIA-|Tesla-", "", value)
    return re.sub(r"[-_]", " ", text).strip()


def device_of_pod(pod: Node) -> tuple[str, int]:
    """Return the device that a pod is bound to (node selector, required affinity), and the line that says so."""
    found = [(device_of_label(key, node.scalar or ""), node.line) for key, node in pod.pairs("nodeSelector")]
    terms = pod.each("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    for term in terms:
        found += device_of_expressions(term)
    named = [(device, line) for device, line in found if device]
    return named[0] if len({device for device, _ in named}) == 1 else ("", 0)


def device_of_expressions(term: Node) -> list[tuple[str, int]]:
    """Return the devices that the expressions of a node selector term allow."""
    found = []
    for expression in term.each("matchExpressions"):
        if expression.text("operator") in ("In", ""):
            key = expression.text("key")
            found += [(device_of_label(key, value.scalar or ""), value.line) for value in expression.each("values")]
    return found


def gpus_of_resources(resources: Node | None) -> tuple[int, int] | None:
    """Return the GPUs that ``limits`` (or ``requests``) name, and the line; ``None`` where they name none."""
    if resources is None:
        return None
    for part in ("limits", "requests"):
        for key, node in resources.pairs(part):
            text = (node.scalar or "").strip()
            if (key in GPU_RESOURCES or key.startswith("nvidia.com/mig-")) and text.isdigit() and len(text) < 6:
                return int(text), node.line
    return None
