"""TensorRT-LLM: the YAML of ``moe_load_balancer`` with a fixed placement per mixture-of-experts layer.

Source: NVIDIA/TensorRT-LLM, ``MoeLoadBalancerConfig``: ``num_slots``, ``initial_global_assignments``
(layer number to expert per slot) and ``layer_updates_per_iter``, where 0 keeps the placement as it is.
"""

from __future__ import annotations

import yaml

from shardproof.solver.placement.exporters.full_map import FullMap


def write(full: FullMap) -> str:
    """Return the file's text."""
    tree = {
        "num_slots": full.slots,
        "initial_global_assignments": {layer: list(row) for layer, row in sorted(full.rows.items())},
        "layer_updates_per_iter": 0,
    }
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=10_000)
