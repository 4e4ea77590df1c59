"""vllm-ascend: the expert map JSON, per mixture-of-experts layer and device the experts it holds.

Source: vllm-project/vllm-ascend, vllm_ascend/eplb (``moe_layer_count``, ``layer_list``, ``device_list``,
``device_expert``); layers are counted among the mixture-of-experts layers.
"""

from __future__ import annotations

import json

from shardproof.solver.placement.exporters.full_map import FullMap, rank_rows


def write(full: FullMap) -> str:
    """Return the file's text."""
    layers = [
        {
            "layer_id": number,
            "device_count": full.ranks,
            "device_list": [
                {"device_id": rank, "device_expert": experts}
                for rank, experts in enumerate(rank_rows(full, full.rows[layer]))
            ],
        }
        for number, layer in enumerate(sorted(full.rows))
    ]
    return json.dumps({"moe_layer_count": len(layers), "layer_list": layers}) + "\n"
