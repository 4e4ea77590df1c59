r"""Fewest GPUs of any fleet by volume alone: what all the work takes, over what a GPU does within the limits.

A replica of g GPUs that serves q requests in microbatches of r passes :math:`\lceil q/r \rceil \ge q/r` times through
stages of which none takes more than that share of the limit T, so that :math:`q\, V(r) / r \le g\, T`, where V(r) is
the least unit-GPU time of one microbatch over all layers, whatever the options. Added up over the replicas of a fleet,

.. math:: G \ge D \min_r \frac{V(r)}{r\, T}

and the same holds of memory, with V(q) the least unit-GPU bytes of q requests and T the bytes of a device. V grows with
r (the premise of every axis), so the minimum over an interval [a, b] is at least V(a) / b: intervals are split where
that is least, until little is left to gain. Integers and fractions only; floors where cells were rounded up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import pairwise

from shardproof.formulations.costs.compute import Step
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import decode_step
from shardproof.formulations.deployment.tables import Program, Table
from shardproof.formulations.scaling import allowed_time, limit_within_margin
from shardproof.instances.clock import now
from shardproof.instances.workload import Burst, Scenario

SPLITS = 4
"""Intervals that are split at most, for each row: each costs one table."""

Volume = Callable[[int], Fraction]
"""GPUs that so many requests take at least, were the work of all layers spread evenly."""


class _OutOfTime(Exception):
    """There is no time for another table."""


def least_gpus(deployment: Deployment, give_up_at: float = math.inf) -> int:
    """Return a number of GPUs that every fleet has at least; 1 where volume says nothing.

    ``give_up_at``: when the monotonic clock has passed it, rows not yet looked at say nothing.
    """
    best = Fraction(1)
    for place, scenario in enumerate(deployment.instance.scenarios) if deployment.options else ():
        requests = deployment.demand[place]
        for volume in (_memory(deployment, place), *_times(deployment, scenario)):
            try:
                best = max(best, requests * _least_ratio(volume, requests, give_up_at))
            except _OutOfTime:
                break
    return -(-best.numerator // best.denominator)


def _times(deployment: Deployment, scenario: Scenario) -> Iterator[Volume]:
    """Yield what a microbatch of a burst takes of each limit on times; other workloads have limits of other forms."""
    instance, limits = deployment.instance, scenario.limits
    if type(scenario.workload) is not Burst or scenario.workload.phase != "both":
        return
    if limits.ttft is not None:
        most = allowed_time(instance, "ttft", scenario.workload, limits.ttft)
        chunks = deployment.chunks_of(scenario)

        def prefill(requests: int) -> Fraction:
            found = (count * _volume(deployment, _chunk(scenario, requests, count)) for count in chunks)
            return Fraction(min(found), max(1, most))

        yield prefill
    if limits.tpot is not None:
        each = limit_within_margin(limits.tpot, instance.margin)

        def decode(requests: int) -> Fraction:
            return Fraction(_volume(deployment, decode_step(scenario, requests, instance.speculative)), max(1, each))

        yield decode


def _chunk(scenario: Scenario, requests: int, chunks: int) -> Step:
    tokens = divide_up(scenario.workload.input_tokens, chunks)
    return Step("prefill", requests, tokens, divide_up((chunks - 1) * tokens, 2), loop=False)


def _volume(deployment: Deployment, step: Step) -> int:
    program = deployment.program
    return least_work(program, deployment.time_table(step, "scale_up").floor, range(len(program.options)))


def _memory(deployment: Deployment, place: int) -> Volume:
    """Return what requests of one scenario take of the memory rows that hold whatever is chosen."""
    program, options = deployment.program, range(len(deployment.options))

    def volume(requests: int) -> Fraction:
        load = tuple(requests if other == place else 0 for other in range(len(deployment.demand)))
        layouts = deployment.replica_program(load, deployment.instance.max_gpus).layouts
        rows = ([cap for cap in layout.caps if cap.memory] for layout in layouts)
        each = [[Fraction(least_work(program, cap.table, options), max(1, cap.limit)) for cap in caps] for caps in rows]
        return min((max(found, default=Fraction(0)) for found in each), default=Fraction(0))

    return volume


def least_work(program: Program, table: Table, options: Sequence[int]) -> int:
    """Return the least unit-GPUs that the work of all layers takes in one table under any of some options."""
    gpus = [option.gpus for option in program.options]
    layers = sum(
        count * min(gpus[o] * table.layer[o][kind] for o in options) for kind, count in Counter(program.kinds).items()
    )
    return layers + sum(min(gpus[o] * cells[o] for o in options) for cells in (table.base, table.first, table.last))


def _least_ratio(found: Volume, most: int, give_up_at: float) -> Fraction:
    """Return a lower bound of the least V(r) / r over r = 1..most, for a V that grows."""

    def volume(requests: int) -> Fraction:
        if now() > give_up_at:
            raise _OutOfTime
        return found(requests)

    edges = sorted({1, *(divide_up(most * part, 4) for part in (1, 2, 3)), most})
    open_ = [(volume(low) / high, low, high) for low, high in [*pairwise(edges), (most, most)]]
    heapify(open_)
    for _ in range(SPLITS):
        _, low, high = open_[0]
        if high - low <= 1 or high * 100 <= low * 102:
            break
        heappop(open_)
        middle = (low + high) // 2
        for start, stop in ((low, middle), (middle, high)):
            heappush(open_, (volume(start) / stop, start, stop))
    return open_[0][0]
