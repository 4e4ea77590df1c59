"""Options: how one stage shards attention and experts over its GPUs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """What a stage may run: attention TP x DP and expert TP x EP; both products are its GPU count.

    ``extra_slots``: expert slots of each rank beyond the fewest that hold every expert.
    """

    attn_tp: int
    attn_dp: int
    moe_tp: int
    moe_ep: int
    extra_slots: int = 0

    @property
    def degrees(self) -> tuple[int, int, int, int]:
        """The four degrees, as engines are told them."""
        return (self.attn_tp, self.attn_dp, self.moe_tp, self.moe_ep)

    @property
    def gpus(self) -> int:
        """GPUs of one stage."""
        return self.attn_tp * self.attn_dp
