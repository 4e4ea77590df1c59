r"""Open workloads as closed ones: what the integer program can bound and plan.

By Little's law a service at rate :math:`\lambda` that takes :math:`\tau` for each of o tokens has
:math:`c = \lambda o \tau` requests decoding on average. Whoever serves the rate therefore holds c requests with half of
their output written, at an iteration time of at most :math:`\tau`, for his own mean :math:`\tau`: a closed loop. For
every :math:`\tau` in an interval :math:`(a, b]` the closed loop of :math:`\lambda o a` requests with TPOT limit b is a
*relaxation*: fewer requests and a looser limit. Intervals that cover all :math:`\tau` up to the limit bound every fleet
whose replicas see the same mean time per token (as replicas do that share the load by weight).

Percentiles: a share q of the requests must keep a limit, so that with the others dropped, which only helps, the rate
:math:`q \lambda` keeps it for all, hence in the mean. A first token takes at least the prefill of its own prompt; its
q-quantile at least that of the q-quantile of prompt lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from shardproof.instances.instance import Instance
from shardproof.instances.traffic.lengths import quantile_of
from shardproof.instances.workload import ClosedLoop, Limits, OpenLoop, Scenario

SLOWEST_TOKEN_NS = 200 * 10**6
"""The largest mean time per token considered where no limit is stated: 5 tokens a second, as fast as people read."""
FASTEST_TOKEN_NS = 200_000
"""Mean time per token that no replica of this generation undercuts (a roofline of small models has more)."""


@dataclass(frozen=True)
class Needs:
    """What the limits of an open scenario ask for, at least.

    ``share``: of the requests, that keep them; ``tpot``: limit of their mean time per token, ns; ``ttft``: limit of the
    prefill of a prompt of ``prompt`` tokens, ns.
    """

    share: Fraction
    tpot: int | None
    ttft: int | None
    prompt: int


def is_open(instance: Instance) -> bool:
    """Whether any scenario's requests come by themselves."""
    return any(isinstance(scenario.workload, OpenLoop) for scenario in instance.scenarios)


def needs_of(scenario: Scenario) -> Needs:
    """Read the limits of an open scenario as necessary conditions."""
    workload, limits = scenario.workload, scenario.limits
    assert isinstance(workload, OpenLoop)
    share = limits.goodput or Fraction(1)
    tpot = [limits.tpot] if limits.tpot is not None else []
    first: list[tuple[int, int]] = []
    if limits.ttft is not None:
        shared = limits.goodput is not None
        prompt = quantile_of(workload.inputs, float(limits.goodput or 0)) if shared else workload.input_tokens
        first.append((limits.ttft, prompt))
    for item in limits.percentiles:
        if item.figure == "tpot":
            tpot.append(item.limit)
            share = min(share, item.percent / 100)
        if item.figure == "ttft":
            first.append((item.limit, quantile_of(workload.inputs, float(item.percent / 100))))
    tightest = min(first, key=lambda pair: pair[0] / pair[1], default=None)
    prompt = workload.input_tokens if tightest is None else max(1, floor(tightest[1] * (1 - workload.prefix_cache_hit)))
    return Needs(share, min(tpot, default=None), None if tightest is None else tightest[0], prompt)


def slowest_token(instance: Instance) -> int:
    """Largest mean time per token that any open scenario allows, ns."""
    limits = [needs_of(scenario).tpot for scenario in instance.scenarios if isinstance(scenario.workload, OpenLoop)]
    return max((limit or SLOWEST_TOKEN_NS for limit in limits), default=SLOWEST_TOKEN_NS)


def closed(instance: Instance, *, fastest: Fraction, slowest: Fraction, rate: Fraction = Fraction(1)) -> Instance:
    """Return the closed loops of an instance's open scenarios.

    Parameters
    ----------
    fastest, slowest
        interval of mean times per token, ns: as many requests are in flight as at the fastest, and the limit is
        the slowest (or the scenario's own, if that is tighter).
    rate
        factor on every rate.
    """
    scenarios = tuple(_closed(scenario, fastest, slowest, rate) for scenario in instance.scenarios)
    return instance.model_copy(update={"scenarios": scenarios})


def _closed(scenario: Scenario, fastest: Fraction, slowest: Fraction, rate: Fraction) -> Scenario:
    workload = scenario.workload
    if not isinstance(workload, OpenLoop):
        return scenario
    needs = needs_of(scenario)
    flight = needs.share * rate * workload.rate * workload.output_tokens * fastest / 10**9
    limit = min(floor(slowest), needs.tpot or floor(slowest))
    loop = ClosedLoop(
        input_tokens=max(1, ceil(workload.input_tokens * (1 - workload.prefix_cache_hit))),
        output_tokens=workload.output_tokens,
        sequence_length_range=workload.sequence_length_range,
        kv_cache=workload.kv_cache,
        concurrency=max(1, floor(flight)),
        independent=True,
        first_prompt_tokens=needs.prompt,
    )
    return scenario.model_copy(update={"workload": loop, "limits": Limits(ttft=needs.ttft, tpot=max(1, limit))})
