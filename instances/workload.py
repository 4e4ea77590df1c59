"""Workloads: what arrives, and the limits that a plan has to meet for it."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from shardproof.instances.base import Record
from shardproof.instances.traffic.lengths import Lengths, longest_of, mean_of
from shardproof.instances.units import DemandDuration, LimitDuration, Rate, Ratio

LEAST_RATE = Fraction(1, 10**6)
"""Requests a second at least: one in eleven days; slower ones never meet."""


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


Phase = Literal["both", "prefill", "decode"]


class Phased(Requests):
    """Requests of which a pool of replicas may serve one phase alone (`shardproof.formulations.apart`).

    ``phase``: ``prefill`` keeps prompts only and sends the KV cache of each request on, which takes its link
    ``sending`` ns; ``decode`` receives it, and keeps the whole request.
    """

    phase: Phase = "both"
    sending: DemandDuration = Field(default=0, ge=0)

    @property
    def resident_tokens(self) -> int:
        """Tokens of one request whose KV stays resident."""
        return self.input_tokens if self.phase == "prefill" else super().resident_tokens

    @model_validator(mode="after")
    def _sends_what_it_prefilled(self) -> Self:
        if self.sending and self.phase != "prefill":
            raise ValueError("sending is of replicas that prefill alone; write phase: prefill, or leave it out")
        return self


class Burst(Phased):
    """``batch_size`` requests arrive together and are prefilled at once, then decoded together."""

    kind: Literal["burst"] = "burst"
    batch_size: int = Field(gt=0, le=10**6)

    @property
    def requests(self) -> int:
        """Requests in the system at once."""
        return self.batch_size


class ClosedLoop(Phased):
    """``concurrency`` requests are always in flight: as one ends, the next arrives.

    ``independent``: they come by themselves instead, and ``concurrency`` is how many are in flight on average; half of
    their output is then written, a first token's limit is that of a prompt of ``first_prompt_tokens`` that waits for
    nothing, and the engine keeps its own limit of running requests (how `OpenLoop` workloads are bounded and planned).
    ``window``: ns in which ``concurrency`` prompts come, one after the other, where replicas prefill alone.
    """

    kind: Literal["closed-loop"] = "closed-loop"
    concurrency: int = Field(gt=0, le=10**6)
    independent: bool = False
    first_prompt_tokens: int | None = Field(default=None, gt=0, le=10**8)
    window: DemandDuration | None = Field(default=None, gt=0)

    @property
    def resident_tokens(self) -> int:
        """Tokens of one request whose KV stays resident; on average, where requests come by themselves."""
        halfway = self.independent and self.phase != "prefill"
        return self.input_tokens + self.output_tokens // 2 if halfway else super().resident_tokens

    @model_validator(mode="after")
    def _comes_within_a_window(self) -> Self:
        if (self.window is not None) != (self.phase == "prefill"):
            raise ValueError("a closed loop that prefills alone has a window in which its prompts come, and no other")
        return self

    @property
    def requests(self) -> int:
        """Requests in the system at once."""
        return self.concurrency


class TraceFacts(Record):
    """A trace of requests: its file, and a digest of what it holds."""

    path: str
    digest: str
    count: int = Field(gt=0)


class OpenLoop(Requests):
    """Requests come by themselves: ``rate`` per second, at any moment, of any length.

    ``arrival_cv``: coefficient of variation of the gaps between arrivals (1: Poisson, 0: evenly spaced);
    ``input_lengths`` and ``output_lengths``: their distributions, of which ``input_tokens`` and ``output_tokens`` are
    the means, rounded up (in a file a distribution is written in the place of the number);
    ``prefix_cache_hit``: share of every prompt that the cache holds; ``trace``: the requests of a file instead, from
    which all of this is read. ``part``: these are what chance leaves of a stream of ``rate`` / ``part``, of which each
    request is taken with that probability; a Poisson stream needs none, since it stays one.
    """

    kind: Literal["requests"] = "requests"
    rate: Rate = Field(gt=0, le=10**6)
    arrival_cv: Ratio = Field(default=Fraction(1), ge=0, le=100)
    input_lengths: Lengths | None = None
    output_lengths: Lengths | None = None
    prefix_cache_hit: Ratio = Field(default=Fraction(0), ge=0, lt=1)
    trace: TraceFacts | None = None
    part: Ratio = Field(default=Fraction(1), gt=0, le=1)

    @field_validator("rate")
    @classmethod
    def _meets_others(cls, rate: Fraction) -> Fraction:
        if rate < LEAST_RATE:
            raise ValueError(f"must be at least {float(LEAST_RATE):.6f}/s: requests in batches are a burst")
        return rate

    @property
    def requests(self) -> int:
        """Requests that are in the system at least when any is."""
        return 1

    @property
    def inputs(self) -> int | Lengths:
        """Prompt tokens: a number, or their distribution."""
        return self.input_lengths or self.input_tokens

    @property
    def outputs(self) -> int | Lengths:
        """Output tokens: a number, or their distribution."""
        return self.output_lengths or self.output_tokens

    @model_validator(mode="before")
    @classmethod
    def _lengths_by_distribution(cls, tree: Any) -> Any:
        """Accept a distribution in the place of a number, and make room for its longest requests."""
        if not isinstance(tree, dict):
            return tree
        made = dict(tree)
        for name in ("input", "output"):
            stated = made.get(f"{name}_tokens")
            if isinstance(stated, dict):
                found = Lengths.model_validate(stated)
                made |= {f"{name}_lengths": found, f"{name}_tokens": ceil(mean_of(found))}
        return made

    @model_validator(mode="after")
    def _has_room_for_the_longest(self) -> Self:
        if self.sequence_length_range is None:
            longest = longest_of(self.inputs) + longest_of(self.outputs)
            object.__setattr__(self, "sequence_length_range", (1, longest))
        return self


Workload = Annotated[Burst | ClosedLoop | OpenLoop, Field(discriminator="kind")]

Figure = Literal["ttft", "tpot", "itl", "e2e"]
_PERCENTILE = re.compile(r"(ttft|tpot|itl|e2e)_p(100|[1-9]\d?(?:\.\d+)?)")


class Percentile(Record):
    """A limit that ``percent`` of the requests (of ``itl``: of the tokens) must keep, ns; 100: every one."""

    figure: Figure
    percent: Ratio = Field(gt=0, le=100)
    limit: LimitDuration = Field(gt=0)


class Limits(Record):
    """What a plan must keep to: the slowest request's TTFT and TPOT (ns); ``None`` means no limit.

    Of requests that come by themselves these are limits of the mean, or of each of a ``goodput`` share of all requests;
    ``percentiles`` are written ``ttft: {p50: 500 ms, p99: 2 s}`` or ``ttft_p99: 2 s`` (also tpot, itl, e2e).
    """

    ttft: LimitDuration | None = Field(default=None, gt=0)
    tpot: LimitDuration | None = Field(default=None, gt=0)
    e2e: LimitDuration | None = Field(default=None, gt=0)
    percentiles: tuple[Percentile, ...] = ()
    goodput: Ratio | None = Field(default=None, gt=0, lt=1)

    @property
    def plain(self) -> dict[str, float]:
        """Limits that are no percentiles, by figure, ns."""
        stated = {"ttft": self.ttft, "tpot": self.tpot, "e2e": self.e2e}
        return {figure: float(limit) for figure, limit in stated.items() if limit is not None}

    @model_validator(mode="before")
    @classmethod
    def _percentiles_by_name(cls, tree: Any) -> Any:
        """Gather percentiles that are written under their figure, or by their own names."""
        if not isinstance(tree, dict):
            return tree
        made, found = dict(tree), list(tree.get("percentiles") or ())
        for name in ("ttft", "tpot", "itl", "e2e"):
            if isinstance(made.get(name), dict):
                stated = made.pop(name)
                made |= {f"{name}_{key}": value for key, value in stated.items() if key != "mean"}
                made |= {name: stated["mean"]} if "mean" in stated else {}
        for key in [key for key in made if isinstance(key, str) and _PERCENTILE.fullmatch(key)]:
            match = _PERCENTILE.fullmatch(key)
            assert match is not None
            found.append({"figure": match[1], "percent": match[2], "limit": made.pop(key)})
        return made | ({"percentiles": found} if found else {})


class Scenario(Record):
    """One named workload with its limits; a plan meets those of every scenario."""

    name: str = "main"
    workload: Workload
    limits: Limits = Limits()
