"""How prompts are prefilled: microbatches of whole prompts, or of one chunk of each of a few prompts.

Engines cut prompts into chunks of at most ``max_num_batched_tokens`` (``chunked_prefill_size``) tokens by default.
A shape says how many requests a microbatch of a replica takes and into how many chunks each prompt is cut. Whole
prompts come in every number that matters (`distinct_ceilings`); chunks in the sizes that engines are usually told,
one prompt on every attention replica at a time. A chunk attends to what came before it in its prompt, on average
half of the rest: the sum over a prompt's chunks is exact where times are linear in the context.

Where no engine is named prompts stay whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.sharding import divide_up
from shardproof.instances.option import Option
from shardproof.instances.workload import ClosedLoop, Scenario

CHUNK_TOKENS = (8192, 2048, 16384, 4096, 1024, 512)
"""Chunk sizes offered where none is told: engines' defaults first."""

STREAM_TOKENS = 32_768
"""Tokens up to which prompts that keep coming are batched; larger iterations gain nothing that counts."""

_CHUNKS = 1 << 20
"""A choice's value is its requests plus this many for every chunk beyond the first; bursts have fewer requests."""


def replica_counts(requests: tuple[int, ...], max_gpus: int) -> tuple[int, ...]:
    """Smallest R of each distinct tuple of ceil(requests / R), R = 1..max_gpus."""
    seen: dict[tuple[int, ...], int] = {}
    for replicas in range(1, max_gpus + 1):
        seen.setdefault(tuple(divide_up(count, replicas) for count in requests), replicas)
    return tuple(seen.values())


@lru_cache(maxsize=1024)
def distinct_ceilings(count: int) -> tuple[int, ...]:
    """Smallest q of each distinct ceil(count / q), ascending."""
    found = [1] if count > 0 else []
    while (parts := divide_up(count, found[-1]) if found else 1) > 1:
        found.append(divide_up(count, parts - 1))
    return tuple(found)


@dataclass(frozen=True)
class PrefillShape:
    """One way to prefill: ``requests`` a microbatch, ``chunks`` a prompt.

    ``attn_dp``: attention replicas of the options that it is for (empty: all options).
    """

    requests: int
    chunks: int = 1
    attn_dp: tuple[int, ...] = ()

    @property
    def value(self) -> int:
        """The choice's value on its axis."""
        return self.requests + (self.chunks - 1) * _CHUNKS

    def microbatches(self, requests: int) -> int:
        """Microbatches that prefill so many requests."""
        return divide_up(requests, self.requests) * self.chunks

    def step(self, scenario: Scenario) -> Step:
        """Return the step of one microbatch, at the mean context of a chunk, rounded up."""
        tokens = divide_up(scenario.workload.input_tokens, self.chunks)
        context = divide_up((self.chunks - 1) * tokens, 2)
        return Step("prefill", self.requests, tokens, context, isinstance(scenario.workload, ClosedLoop))

    def batched(self, scenario: Scenario, option: Option) -> int:
        """Tokens of one iteration of the fullest attention replica."""
        return divide_up(self.requests, option.attn_dp) * divide_up(scenario.workload.input_tokens, self.chunks)

    def options(self, options: Iterable[Option]) -> tuple[int, ...] | None:
        """Indices of the options that the shape is for (``None``: all)."""
        if not self.attn_dp:
            return None
        return tuple(place for place, option in enumerate(options) if option.attn_dp in self.attn_dp)


def decoded(value: int) -> tuple[int, int]:
    """Return requests and chunks of a choice's value."""
    chunks, requests = divmod(value, _CHUNKS)
    return requests, chunks + 1


def stream_shapes(scenario: Scenario, widths: Iterable[int]) -> tuple[PrefillShape, ...]:
    """Return the microbatches of prompts that come one after the other: 1, 2, 4, ... on each attention replica."""
    tokens, found = scenario.workload.input_tokens, []
    for width in widths:
        each = 1
        while each == 1 or each * tokens <= STREAM_TOKENS:
            found.append(PrefillShape(each * width, attn_dp=(width,)))
            each *= 2
    return tuple(found)


@lru_cache(maxsize=1024)
def prefill_shapes(
    requests: int, tokens: int, *, widths: tuple[int, ...], told: int | None, chunked: bool
) -> tuple[PrefillShape, ...]:
    """Return the shapes that prefill ``requests`` prompts of ``tokens`` tokens on one replica.

    ``widths``: attention replicas (``attn_dp``) that options have; ``told``: tokens of one iteration, where the
    engine is told; ``chunked``: whether it cuts prompts.
    """
    if told is not None:
        return _merged(_told(requests, tokens, widths=widths, told=told, chunked=chunked))
    whole = tuple(map(PrefillShape, distinct_ceilings(requests)))
    return (*whole, *_merged(_chunks(requests, tokens, widths))) if chunked else whole


def _told(
    requests: int, tokens: int, *, widths: tuple[int, ...], told: int, chunked: bool
) -> Iterator[tuple[int, int, int]]:
    for width in widths:
        if told >= tokens:
            yield min(requests, width * (told // tokens)), 1, width
        elif chunked:
            yield min(requests, width), divide_up(tokens, told), width


def _chunks(requests: int, tokens: int, widths: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    for chunk in CHUNK_TOKENS:
        for width in widths:
            if chunk < tokens:
                yield min(requests, width), divide_up(tokens, chunk), width


def _merged(shapes: Iterable[tuple[int, int, int]]) -> tuple[PrefillShape, ...]:
    """Put shapes together that differ in their widths alone."""
    found: dict[tuple[int, int], list[int]] = {}
    for requests, chunks, width in shapes:
        found.setdefault((requests, chunks), []).append(width)
    return tuple(PrefillShape(*shape, attn_dp=tuple(widths)) for shape, widths in found.items())
