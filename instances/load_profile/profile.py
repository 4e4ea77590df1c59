"""Load profiles: how many tokens every expert of every mixture-of-experts layer receives.

Loads are kept as integers over one denominator, so that shares such as 0.137 stay exact.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shardproof.instances.base import Record

Serve = Literal["average", "worst", "weighted"]


class LoadProfile(Record):
    """Loads of one traffic pattern: ``loads[layer][expert] / denominator`` tokens (or shares).

    ``loads`` holds the mixture-of-experts layers only, first to last.
    """

    name: str
    source: str
    loads: tuple[tuple[int, ...], ...] = Field(min_length=1)
    denominator: int = Field(default=1, ge=1)

    @property
    def layers(self) -> int:
        """Number of mixture-of-experts layers."""
        return len(self.loads)

    @property
    def experts(self) -> int:
        """Experts per layer."""
        return len(self.loads[0])
