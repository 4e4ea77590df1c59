r"""Microbatches through stages: the formulas of TTFT and TPOT, and a simulation that must agree with them.

Identical microbatches pass the stages in order, one at a time per stage. The k-th of n leaves the last stage at
:math:`\sum_s t_s + (k - 1) \max_s t_s`: the last one's is the TTFT of the slowest request. In decode every
stage works on one microbatch of sequences: :math:`TPOT = \max(\sum_s t_s, n \max_s t_s)`.

In a closed loop every request in flight is replaced once while it decodes its o tokens, so an iteration of r
sequences on each attention replica also prefills r / o prompts: :math:`t_s = d_s(r) + \lceil r\, p_s / o \rceil`.
A first token takes its own prefill and the waits of `shardproof.formulations.costs.serving.first_token`. Of C requests
in flight a replica runs no more than n; the others wait until one ends, which the balance of flow makes
:math:`(C - n) / n` residences of a running request.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shardproof.formulations.costs.serving.first_token import PARTS, Wait

Times = TypeVar("Times", int, NDArray[np.int64])
"""A time, or times of many options."""


def last_ttft(stage_times: Sequence[int], microbatches: int) -> int:
    """TTFT of the slowest request of a burst, in the unit of the stage times."""
    return sum(stage_times) + (microbatches - 1) * max(stage_times)


def last_sent(stage_times: Sequence[int], microbatches: int, *, chunks: int, sending: int) -> int:
    """TTFT of the slowest request where each group of ``chunks`` microbatches is sent on a link of ``sending`` a group.

    The link is one more stage: the last group waits for its own prefill, or for the link, which is busy from the first
    group on.
    """
    groups = microbatches // chunks
    prefilled = last_ttft(stage_times, microbatches) + sending
    return max(prefilled, last_ttft(stage_times, chunks) + groups * sending)


def mean_ttft(stage_times: Sequence[int], groups: int, chunks: int = 1, *, sending: int = 0) -> Fraction:
    """Mean TTFT over equal groups of requests, each prefilled in ``chunks`` microbatches, and sent on."""
    if sending:
        ends = (
            last_sent(stage_times, place * chunks, chunks=chunks, sending=sending) for place in range(1, groups + 1)
        )
        return Fraction(sum(ends), groups)
    return sum(stage_times) + (Fraction(chunks * (groups + 1), 2) - 1) * max(stage_times)


def tpot(stage_times: Sequence[int], microbatches: int) -> int:
    """Time per output token."""
    return max(sum(stage_times), microbatches * max(stage_times))


def iteration_time(decode: Times, prefill: Times, *, numerator: Times, denominator: Times) -> Times:
    """Time of one closed-loop iteration, rounded up; numbers or arrays of them.

    An attention replica prefills ``numerator / denominator`` prompts in it.
    """
    return decode - (-prefill * numerator // denominator)


def first_token_time(prefill: int, iteration: int, wait: Wait) -> int:
    """Closed-loop time to first token of one part of the pipeline, ns, rounded up; the host's share comes once."""
    return first_token_parts(prefill, iteration, prefill=wait.prefill, waited=wait.iteration)


def first_token_parts(own: Times, iteration: Times, *, prefill: Times, waited: Times) -> Times:
    """Time to first token, numbers or arrays: millionths ``prefill`` of its own and ``waited`` of an iteration."""
    return -(-(prefill * own + waited * iteration) // PARTS)


def admission_wait(first_token: int, tpot: int, *, flight: int, running: int, output_tokens: int) -> int:
    """Time until one of ``flight`` requests is admitted among the ``running``, ns, rounded up."""
    residence = first_token + (output_tokens - 1) * tpot
    return -(-max(0, flight - running) * residence // running)


def simulate_sending(leaves: Sequence[int], *, chunks: int, sending: int) -> list[int]:
    """Play the link after a pipeline: each group of ``chunks`` microbatches is sent once its last one has left it."""
    free_at, arrives = 0, []
    for ready in leaves[chunks - 1 :: chunks]:
        free_at = max(ready, free_at) + sending
        arrives.append(free_at)
    return arrives


def simulate_prefill(stage_times: Sequence[int], microbatches: int) -> list[int]:
    """Play the pipeline event by event; return when each microbatch leaves the last stage."""
    free_at = [0] * len(stage_times)
    leaves: list[int] = []
    for _ in range(microbatches):
        ready = 0
        for stage, time in enumerate(stage_times):
            ready = max(ready, free_at[stage]) + time
            free_at[stage] = ready
        leaves.append(ready)
    return leaves
