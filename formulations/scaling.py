"""Seconds to integers: the only place where times are rounded.

Operations are timed in picoseconds, rounded down and up. A table cell is a sum of operations, rounded up to
whole nanoseconds; lowered by `TIME_SLACK` it is a floor, because the sum of the downward roundings of fewer
than a thousand operations lies less than one nanosecond below that of the upward ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.workload import ClosedLoop, Workload

TIME_SLACK = 2
"""Nanoseconds by which a rounded-up cell may exceed the exact time, at most."""

LONGEST = 10**18


def nanoseconds_up(picoseconds: Iterable[tuple[int, int]]) -> int:
    """Sum durations given as (down, up) picoseconds and round up to nanoseconds."""
    return within_reason(-(-sum(up for _, up in picoseconds) // 1000))


def within_reason(nanoseconds: int) -> int:
    """Refuse a time of more than 31 years: sums of such cells would leave the integers that every search uses.

    Raises
    ------
    InputError
        If it is that long.
    """
    if nanoseconds > LONGEST:
        raise InputError("a step of this instance takes more than 31 years; correct the device's figures")
    return nanoseconds


def corrected_nanoseconds(nanoseconds: int, scale: Fraction, *, least: int) -> int:
    """A cell times a correction, rounded up, and no less than ``least`` (unless it was less before)."""
    scaled = -(-nanoseconds * scale.numerator // scale.denominator)
    return within_reason(max(scaled, min(nanoseconds, least)))


def corrected_slack(scale: Fraction) -> int:
    """Nanoseconds by which a cell may exceed the exact time once it is corrected, at most."""
    if scale == 1:
        return TIME_SLACK
    return 1 + max(TIME_SLACK, -(-TIME_SLACK * scale.numerator // scale.denominator))


def fitted_nanoseconds(seconds: float) -> int:
    """Seconds of a fitted model as nanoseconds: six significant digits, so that last bits do not show."""
    return within_reason(round(float(f"{seconds:.5e}") * 1e9))


def allowed_time(instance: Instance, quantity: Literal["ttft", "tpot"], workload: Workload, limit_ns: int) -> int:
    """Largest TTFT or TPOT that an instance's limit leaves once its margin is taken off, ns."""
    return limit_within_margin(limit_ns, _margin(instance, quantity, workload))


def limit_for(instance: Instance, quantity: Literal["ttft", "tpot"], workload: Workload, time_ns: int) -> int:
    """Least limit that leaves so much time once an instance's margin is taken off (`allowed_time`), ns."""
    exact = time_ns * (1 + _margin(instance, quantity, workload))
    return -(-exact.numerator // exact.denominator)


def _margin(instance: Instance, quantity: Literal["ttft", "tpot"], workload: Workload) -> Fraction:
    own = quantity == "ttft" and isinstance(workload, ClosedLoop)
    return instance.loop_ttft_margin if own and instance.loop_ttft_margin is not None else instance.margin


@lru_cache(maxsize=1024)
def limit_within_margin(limit_ns: int, margin: Fraction) -> int:
    """Largest time that stays within a limit after inflation by ``1 + margin``, rounded down, ns."""
    exact = limit_ns / (1 + margin)
    return exact.numerator // exact.denominator
