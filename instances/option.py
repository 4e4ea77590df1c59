"""Options: how one stage shards attention and experts over its GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from shardproof.instances.base import Record


class FixedDegrees(Record):
    """Degrees that every stage must have, where the question fixes them (``None``: the planner chooses).

    ``tensor_parallel`` and ``data_parallel`` are those of attention, ``expert_parallel`` of the experts.
    """

    tensor_parallel: int | None = Field(default=None, ge=1, le=16384)
    data_parallel: int | None = Field(default=None, ge=1, le=16384)
    expert_parallel: int | None = Field(default=None, ge=1, le=16384)

    @property
    def stated(self) -> dict[str, int]:
        """What is fixed, by name."""
        return {name: value for name, value in self if value is not None}

    @property
    def gpus(self) -> int:
        """GPUs that a stage has at least."""
        return max((self.tensor_parallel or 1) * (self.data_parallel or 1), self.expert_parallel or 1)

    def admit(self, option: Option) -> bool:
        """Whether an option has the degrees that are fixed."""
        own = {"tensor_parallel": option.attn_tp, "data_parallel": option.attn_dp, "expert_parallel": option.moe_ep}
        return all(own[name] == degree for name, degree in self.stated.items())


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
