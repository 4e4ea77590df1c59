r"""Microbatches through stages: the formulas of TTFT and TPOT, and a simulation that must agree with them.

Identical microbatches pass the stages in order, one at a time per stage. The k-th of n leaves the last stage at
:math:`\sum_s t_s + (k - 1) \max_s t_s`: the last one's is the TTFT of the slowest request. In decode every
stage works on one microbatch of sequences: :math:`TPOT = \max(\sum_s t_s, n \max_s t_s)`.

In a closed loop every request in flight is replaced once while it decodes its o tokens, so an iteration of r
sequences also prefills r / o prompts: :math:`t_s = d_s(r) + \lceil r\, p_s / o \rceil`. A request's first token
takes its own prefill and half an iteration until it can start, and waits for the prompt in service before it (prompts
are being prefilled half of the time): :math:`TTFT = \sum_s (w_0 (p_s + t_s / 2) + w_1 p_s)`, the weights 1 or, for
calibrated instances, fitted to the engine's measured deployments.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def last_ttft(stage_times: Sequence[int], microbatches: int) -> int:
    """TTFT of the slowest request of a burst, in the unit of the stage times."""
    return sum(stage_times) + (microbatches - 1) * max(stage_times)


def mean_ttft(stage_times: Sequence[int], groups: int, chunks: int = 1) -> Fraction:
    """Mean TTFT over equal groups of requests, each prefilled in ``chunks`` microbatches."""
    return sum(stage_times) + (Fraction(chunks * (groups + 1), 2) - 1) * max(stage_times)


def tpot(stage_times: Sequence[int], microbatches: int) -> int:
    """Time per output token."""
    return max(sum(stage_times), microbatches * max(stage_times))


def iteration_time(decode: int, prefill: int, *, sequences: int, output_tokens: int) -> int:
    """Time of one closed-loop iteration of ``sequences``, with the prompts that it prefills, rounded up."""
    return decode - (-prefill * sequences // output_tokens)


def first_token_time(prefill: int, iteration: int, wait: tuple[Fraction, Fraction]) -> int:
    """Closed-loop time to first token of one part of the pipeline, rounded up.

    ``wait`` weighs own prefill and half an iteration, and the prefill of the prompt before.
    """
    own, before = wait
    exact = own * (prefill + Fraction(iteration, 2)) + before * prefill
    return -(-exact.numerator // exact.denominator)


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
