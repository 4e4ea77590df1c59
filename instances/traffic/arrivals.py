"""Arrival times: Poisson, bursty with a stated coefficient of variation, or evenly spaced; and whole request lists.

Gaps are gamma distributed with the stated coefficient of variation (1: Poisson, 0: evenly spaced), as benchmark
tools make them (``--burstiness`` of `vllm bench serve` is 1 / cv squared).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shardproof.instances.traffic.lengths import Lengths
from shardproof.instances.traffic.trace import Request

if TYPE_CHECKING:
    import numpy as np

    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]


LATEST_NS = 2**62
"""What a clock of whole nanoseconds holds, 146 years: whatever comes later comes then."""


def arrival_times(count: int, *, rate: float, cv: float, random: np.random.Generator) -> Integers:
    """Arrival times of ``count`` requests, ns, from 0; ``rate`` per second, ``cv`` of the gaps."""
    import numpy as np

    if cv == 0:
        gaps = np.full(count, 1 / rate)
    else:
        shape = 1 / (cv * cv)
        gaps = random.gamma(shape, 1 / (shape * rate), count)
    times: Integers = np.rint(np.minimum(np.cumsum(gaps) * 1e9, LATEST_NS)).astype(np.int64)
    return times


def drawn_lengths(lengths: int | Lengths, count: int, random: np.random.Generator) -> Integers:
    """Draw token counts; a plain number gives that number."""
    import numpy as np

    return np.full(count, lengths, dtype=np.int64) if isinstance(lengths, int) else lengths.sample(count, random)


def generated(
    count: int, *, rate: float, cv: float, input_tokens: int | Lengths, output_tokens: int | Lengths, seed: int
) -> list[Request]:
    """Return ``count`` requests of an open workload; arrivals and lengths are independent of each other."""
    import numpy as np

    random = np.random.default_rng(seed)
    times = arrival_times(count, rate=rate, cv=cv, random=random)
    read, written = drawn_lengths(input_tokens, count, random), drawn_lengths(output_tokens, count, random)
    return [Request(int(t), int(i), int(o)) for t, i, o in zip(times, read, written, strict=True)]


def thinned(requests: Sequence[Request], part: float, *, seed: int) -> list[Request]:
    """Return what chance leaves of a stream when each request is taken with probability ``part``."""
    import numpy as np

    kept = np.random.default_rng([seed, 1]).random(len(requests)) < part
    return [request for request, keep in zip(requests, kept.tolist(), strict=True) if keep]
