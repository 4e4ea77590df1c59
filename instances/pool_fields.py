"""Which questions are about several devices or models: known by their fields, before anything of them is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

POOL_FIELDS = ("devices", "models", "objective", "spare", "placement", "capacities", "requests", "resolution")
"""Fields that make a file a question about pools."""


def is_about_pools(tree: Mapping[str, Any]) -> bool:
    """Whether a tree asks about pools."""
    return any(field in tree for field in POOL_FIELDS)
