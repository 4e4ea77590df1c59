"""Doubt in a prediction of a closed loop: the interval that `predict` prints and that `solve` plans against."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from shardproof.formulations.costs.serving.architecture import device_key
from shardproof.formulations.costs.serving.confidence import Interval, interval, parse_level
from shardproof.formulations.costs.serving.factors import is_known, setting_of
from shardproof.instances.instance import Instance

Quantity = Literal["tpot", "ttft", "ttft_waiting"]
"""What is predicted; ``ttft_waiting``: where requests wait for room."""


def interval_of(instance: Instance, quantity: Quantity, value: float, level: float) -> Interval:
    """Return the interval about a predicted value, in its unit."""
    engine = "vllm" if instance.engine == "any" else instance.engine
    known = is_known(setting_of(instance.model, instance.device, engine))
    device = device_key(instance.device)
    return interval(value, level, engine=engine, device=device, quantity=quantity, known=known)


def margin_of(instance: Instance, quantity: Quantity, level: Fraction) -> Fraction:
    """Share by which the interval's upper end exceeds the prediction, to four decimals."""
    high = interval_of(instance, quantity, 1.0, parse_level(f"{float(level):g}")).high
    return Fraction(round(high * 10_000) - 10_000, 10_000)
