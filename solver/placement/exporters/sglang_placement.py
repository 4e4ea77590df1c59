"""SGLang: the JSON of ``--init-expert-location``, one row per hidden layer, dense layers included.

Source: sgl-project/sglang, python/sglang/srt/eplb/expert_location.py
(``compute_initial_expert_location_metadata``): the one key ``physical_to_logical_map``.
"""

from __future__ import annotations

import json

from shardproof.solver.placement.exporters.full_map import FullMap


def write(full: FullMap) -> str:
    """Return the file's text; a dense layer's row is never read and lists the experts in order."""
    rows = [list(full.rows.get(layer, full.plain_row)) for layer in range(full.layer_count)]
    return json.dumps({"physical_to_logical_map": rows}) + "\n"
