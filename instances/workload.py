"""Workloads: what arrives, and the limits that a plan has to meet for it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shardproof.instances.base import Record
from shardproof.instances.units import LimitDuration


class Requests(Record):
    """What every request of a workload looks like.

    ``sequence_length_range`` is what the service accepts (tokens, input plus output);
    ``kv_cache``: ``full`` keeps input + output tokens of every request resident, ``prompt-only`` the input.
    """

    input_tokens: int = Field(gt=0, le=10**8)
    output_tokens: int = Field(gt=0, le=10**8)
    sequence_length_range: tuple[int, int] | None = None
    kv_cache: Literal["full", "prompt-only"] = "full"

    @property
    def resident_tokens(self) -> int:
        """Tokens of one request whose KV stays resident."""
        return self.input_tokens + (self.output_tokens if self.kv_cache == "full" else 0)

    @model_validator(mode="after")
    def _lengths_in_range(self) -> Self:
        if self.sequence_length_range is not None:
            low, high = self.sequence_length_range
            total = self.input_tokens + self.output_tokens
            if not 0 < low <= high:
                raise ValueError(f"sequence_length_range [{low}, {high}] is empty; write [shortest, longest]")
            if total > high or self.input_tokens + 1 < low:
                raise ValueError(
                    f"input_tokens + output_tokens = {total} lies outside sequence_length_range [{low}, {high}]"
                )
        return self


class Burst(Requests):
    """``batch_size`` requests arrive together and are prefilled at once, then decoded together."""

    kind: Literal["burst"] = "burst"
    batch_size: int = Field(gt=0, le=10**6)

    @property
    def requests(self) -> int:
        """Requests in the system at once."""
        return self.batch_size


class ClosedLoop(Requests):
    """``concurrency`` requests are always in flight: as one ends, the next arrives."""

    kind: Literal["closed-loop"] = "closed-loop"
    concurrency: int = Field(gt=0, le=10**6)

    @property
    def requests(self) -> int:
        """Requests in the system at once."""
        return self.concurrency


Workload = Annotated[Burst | ClosedLoop, Field(discriminator="kind")]


class Limits(Record):
    """What a plan must keep to: the slowest request's TTFT and TPOT (ns); ``None`` means no limit."""

    ttft: LimitDuration | None = Field(default=None, gt=0)
    tpot: LimitDuration | None = Field(default=None, gt=0)


class Scenario(Record):
    """One named workload with its limits; a plan meets those of every scenario."""

    name: str = "main"
    workload: Workload
    limits: Limits = Limits()
