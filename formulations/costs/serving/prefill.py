r"""Prefill iterations that wait for nothing: the host's floor, and the device's work above it.

.. math:: t = \left(F^q + (f + \kappa\, x + \alpha\, a)^q\right)^{1/q} + r\,(n - 1)

======  ==============================  ======  =====================================================
symbol  code                            unit    source
======  ==============================  ======  =====================================================
F       `Floor.floor_ms`                ms      fitted: the host prepares an iteration no faster
x, a    `nominal_ms`                    ms      datasheet time of linear layers and of attention
kappa   `Floor.work_factor`             1       fitted
alpha   `Floor.attention_factor`        1       fitted
f, r    `Floor.fixed_ms`, `request_ms`  ms      fitted: launches; each request after the first
q       `Floor.power`                   1       fitted: how sharply the larger of both takes over
======  ==============================  ======  =====================================================
"""

from __future__ import annotations

from shardproof.formulations.costs.serving.factors import Floor, load_factors
from shardproof.formulations.costs.serving.work import PLACE, Load, iteration_terms
from shardproof.instances.hardware import Device
from shardproof.instances.model import Model
from shardproof.instances.option import Option

COUNTED = ("gemm", "grouped", "elementwise", "message")


def nominal_ms(
    model: Model, device: Device, option: Option, *, tokens: float, requests: float, cached: float
) -> tuple[float, float]:
    """Datasheet milliseconds (linear layers, attention) of ``tokens`` of ``requests`` that read ``cached`` tokens."""
    context = (cached + tokens / 2) / requests
    load = Load(tokens, requests, context, prefill=True, logits=requests)
    terms = iteration_terms(model, device, option, load)
    return 1e3 * sum(terms[PLACE[name]] for name in COUNTED), 1e3 * terms[PLACE["attention"]]


def floor_of(engine: str) -> Floor | None:
    """Return the fitted floor of an engine; ``None`` if no iterations of it were measured."""
    return load_factors().prefill_floor.get(engine)


def iteration_ms(floor: Floor, nominal: tuple[float, float], *, requests: float) -> float:
    """Milliseconds of one prefill iteration."""
    linear, attention = nominal
    work = floor.fixed_ms + floor.work_factor * linear + floor.attention_factor * attention
    low, high = sorted((floor.floor_ms, work))
    smooth: float = high * (1 + (low / high) ** floor.power) ** (1 / floor.power)
    return smooth + floor.request_ms * (requests - 1)
