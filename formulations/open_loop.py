r"""Requests that come by themselves: what their limits ask of every service, whatever its schedule.

A replica plays rounds. A round of k sequences of mean context c takes D(k, c) and gives k tokens; a prompt of t tokens
adds its chunks. Relaxed: prompts are computed beside nothing, and rounds hold any k that the limits allow.

*Work.* A plane below all rounds turns them into costs of single tokens. For :math:`\alpha, \beta, \gamma, \delta \ge 0`
with

.. math:: \alpha + \beta c + \gamma (T - D(k, c)) + \delta (K / k - c) \le D(k, c) / k \qquad \forall k, c

rounds of requests that keep a mean time per token of T in a cache of K tokens take at least
:math:`\sum (\alpha + \beta c)` over their tokens: multiply by k and add up the rounds; the terms of
:math:`\gamma` and :math:`\delta` are not negative in sum. Prompts cost :math:`f + a t` a chunk by a plane of their own.

*Rate.* Replicas that keep up with a rate :math:`\lambda` do :math:`\lambda` times the mean work of a request a second.

*Windows.* What arrives after a and is due before b is done between a and b: n replicas do
no more than n (b - a) work.
A first token is due TTFT after the arrival; a whole request TTFT and its tokens' TPOT later. Where a share of the
requests may miss its limits, as many as windows apart force to be late must not be more than that share; a window
forces the fewest requests that make up the work beyond what it can hold.

*Stalls.* Requests that come to a replica by chance (Poisson) see as many sequences running as run on average, and their
prompts stall them: with :math:`\rho` the share of time that a replica computes prompts, the rounds have
:math:`T (1 - \rho (1 - \epsilon))` a token, where :math:`\epsilon` is what ends between arrival and first token.

Left out: the queue that chance makes inside a window that is not full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from shardproof.instances.instance import Instance
from shardproof.instances.traffic.lengths import quantile_of
from shardproof.instances.workload import ClosedLoop, Limits, OpenLoop, Scenario

SLOWEST_TOKEN_NS = 200 * 10**6
"""The largest mean time per token considered where no limit is stated: 5 tokens a second, as fast as people read."""

MILLIONTHS = 10**6
"""Rates of single replicas are counted in millionths of a request a second."""


@dataclass(frozen=True)
class Kept:
    """A limit that a share of the requests keeps, each of them, ns."""

    share: Fraction
    limit: int


@dataclass(frozen=True)
class Promised:
    """Limits of an open scenario: of single requests by figure, and of means (``None``: none), ns.

    ``joint``: those of single requests are kept by the same ones (goodput).
    """

    first: tuple[Kept, ...]
    token: tuple[Kept, ...]
    whole: tuple[Kept, ...]
    mean_first: int | None
    mean_token: int | None
    joint: bool

    def both(self, first: Kept, token: Kept) -> Fraction:
        """Share of the requests that keeps both limits: of goodput the same, else what either may miss is taken off."""
        return first.share if self.joint else max(Fraction(0), first.share + token.share - 1)

    @property
    def tightest_token(self) -> int | None:
        """Largest mean time per token that any of the limits allows to the share of the requests it speaks of, ns."""
        stated = [kept.limit for kept in self.token]
        return min([*stated, *([] if self.mean_token is None else [self.mean_token])], default=None)


def is_open(instance: Instance) -> bool:
    """Whether any scenario's requests come by themselves."""
    return any(isinstance(scenario.workload, OpenLoop) for scenario in instance.scenarios)


def promised_by(scenario: Scenario) -> Promised:
    """Read the limits of an open scenario; limits of ``itl`` are played and bound nothing."""
    limits = scenario.limits
    found: dict[str, list[Kept]] = {"ttft": [], "tpot": [], "e2e": [], "itl": []}
    for item in limits.percentiles:
        found[item.figure].append(Kept(item.percent / 100, item.limit))
    shared = limits.goodput
    for figure, limit in limits.plain.items():
        if shared is not None:
            found[figure].append(Kept(shared, round(limit)))
    means = limits if shared is None else Limits()
    return Promised(
        first=tuple(found["ttft"]),
        token=tuple(found["tpot"]),
        whole=tuple(found["e2e"]),
        mean_first=means.ttft,
        mean_token=means.tpot,
        joint=shared is not None,
    )


def closed(instance: Instance, flight: Mapping[str, int] | None = None) -> Instance:
    """Return the instance that an engine is set up for: closed loops in the place of open scenarios.

    ``flight``: requests in flight by scenario; one where it is not said. What an engine is told (sequences at once,
    tokens of an iteration, share of the memory) is then its default, or what the instance says.
    """
    flying = flight or {}
    scenarios = tuple(_closed(scenario, flying.get(scenario.name, 1)) for scenario in instance.scenarios)
    return instance.model_copy(update={"scenarios": scenarios})


def _closed(scenario: Scenario, flight: int) -> Scenario:
    workload = scenario.workload
    if not isinstance(workload, OpenLoop):
        return scenario
    loop = ClosedLoop(
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        sequence_length_range=workload.sequence_length_range,
        kv_cache=workload.kv_cache,
        concurrency=flight,
        independent=True,
    )
    return scenario.model_copy(update={"workload": loop, "limits": Limits()})


def without_open(instance: Instance) -> Instance | None:
    """Return the instance with its other scenarios alone (``None``: there are none)."""
    kept = tuple(scenario for scenario in instance.scenarios if not isinstance(scenario.workload, OpenLoop))
    return instance.model_copy(update={"scenarios": kept}) if kept else None


def longest_stay(scenario: Scenario) -> int | None:
    """Longest that a request of mean length which keeps its limits takes, ns (``None``: no limit says so)."""
    needs, later = promised_by(scenario), max(0, scenario.workload.output_tokens - 1)
    token = [kept.limit for kept in needs.token] + ([] if needs.mean_token is None else [needs.mean_token])
    first = [kept.limit for kept in needs.first] + ([] if needs.mean_first is None else [needs.mean_first])
    whole = [kept.limit for kept in needs.whole]
    if token:
        whole.append(min(token) * later + min(first, default=0))
    return min(whole, default=None)


def allowed_late(share: Fraction, count: int) -> int:
    """Requests of so many that may miss a limit that a share of them keeps: the order statistic's others."""
    return count - min(count, max(1, ceil(share * count)))


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
