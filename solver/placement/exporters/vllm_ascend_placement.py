"""vllm-ascend: the expert map JSON, per mixture-of-experts layer and device the experts it holds.

Source: vllm-project/vllm-ascend, vllm_ascend/eplb (``moe_layer_count``, ``layer_list``, ``device_list``,
``device_expert``); layers are counted among the mixture-of-experts layers. Its loader builds one map from expert to
slot for each device (``eplb/core/eplb_utils.py``, ``expert_file_to_tensor``): an expert
that stands twice on a device would leave one of its slots unreachable.
"""

from __future__ import annotations

import json

from shardproof.instances.reading import refuse
from shardproof.solver.placement.exporters.full_map import FullMap, rank_rows


def write(full: FullMap) -> str:
    """Return the file's text; refuses a device that holds an expert twice, which the engine cannot address."""
    for layer, row in sorted(full.rows.items()):
        for rank, experts in enumerate(rank_rows(full, row)):
            if len(set(experts)) < len(experts):
                remedy = "vllm-ascend loads no device that holds an expert twice; place with --distinct"
                raise refuse("--export", remedy, field=f"layer {layer}", value=f"device {rank}")
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
