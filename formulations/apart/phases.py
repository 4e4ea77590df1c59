r"""What each pool is asked where prefill and decode are apart: a question for a fleet of its own.

A burst of D requests asks the prefill pool for D prompts, of which only the prompt is resident, within TTFT less what
sending takes; and the decode pool for D whole requests within TPOT. No GPU serves both, so that the fewest GPUs of both
pools are the sum of the fewest of each.

Requests in service pass the pools by Little's law. At :math:`\lambda` requests a second and a mean time per token
:math:`\tau` the decode pool holds :math:`\lambda (o - 1) \tau` of them, and the prefill pool takes :math:`\lambda`
prompts a second. In a closed loop of C requests :math:`\lambda = C / (T + (o - 1) \tau)` with T the mean TTFT, at most
its limit L. For :math:`\tau` in :math:`(a, b]` every plan has at least

.. math:: \lambda \ge \frac{C}{L + (o - 1) b}, \qquad \lambda (o - 1) \tau \ge C \frac{(o - 1) a}{L + (o - 1) a}

which is a *relaxation* of it: fewer prompts, fewer requests, a looser limit. The prefill pool is asked in whole numbers
of prompts within a window; a window that is longer by one prompt for each replica makes up for rounding down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from shardproof.formulations.apart.transfer import sending_time
from shardproof.formulations.open_loop import SLOWEST_TOKEN_NS, needs_of
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Pool
from shardproof.instances.workload import Burst, ClosedLoop, Limits, OpenLoop, Scenario

FASTEST_TOKEN_NS = 200_000
"""Mean time per token that no replica of this generation undercuts (a roofline of small models has more)."""

RESOLUTION = 32
"""Prompts within a window for each replica that the prefill pool may have."""


@dataclass(frozen=True)
class Tokens:
    """Mean times per token (ns) that a question is about, in (fastest, slowest], and a factor on every rate.

    ``rounded``: replicas of which each may have been rounded down by one prompt (0: a plan is looked for); ``hurry``:
    how many times faster than its limit a lone prompt's first token is to be, since requests queue (1: for a bound).
    """

    fastest: Fraction
    slowest: Fraction
    rate: Fraction = Fraction(1)
    rounded: int = 0
    hurry: Fraction = Fraction(1)


ANY_TOKEN = Tokens(Fraction(1), Fraction(1))
"""For bursts, which ask nothing of it."""


def as_together(instance: Instance) -> Instance:
    """Return the question for replicas that serve both phases."""
    return instance if instance.serving == "together" else instance.model_copy(update={"serving": "together"})


def usual_tokens(instance: Instance) -> Tokens:
    """The time per token at which a given plan's pools are judged: the slowest that the limits allow."""
    return Tokens(slowest := Fraction(slowest_allowed(instance)), slowest) if is_steady(instance) else ANY_TOKEN


def slowest_allowed(instance: Instance) -> int:
    """Largest mean time per token that the scenarios whose requests keep coming allow, ns."""
    found = [
        needs_of(scenario).tpot if isinstance(scenario.workload, OpenLoop) else scenario.limits.tpot
        for scenario in instance.scenarios
        if not isinstance(scenario.workload, Burst)
    ]
    return max(limit or SLOWEST_TOKEN_NS for limit in found)


def is_steady(instance: Instance) -> bool:
    """Whether requests of any scenario keep coming: the pools' loads then depend on the time per token."""
    return any(not isinstance(scenario.workload, Burst) for scenario in instance.scenarios)


def check_apart(instance: Instance) -> None:
    """Refuse questions that say too little for pools apart.

    Raises
    ------
    InputError
        If a closed loop does not say how long a request may be in the prefill pool, or nothing is decoded.
    """
    problems = list(_problems(instance))
    if problems:
        raise InputError(problems)


def _problems(instance: Instance) -> Iterator[Problem]:
    for scenario in instance.scenarios:
        workload, where = scenario.workload, f"{instance.name}, scenario {scenario.name}"
        if isinstance(workload, ClosedLoop) and scenario.limits.ttft is None:
            remedy = "pools apart share a closed loop's requests by it: say how long the first token may take"
            yield Problem(where, "limits.ttft", "none", remedy)
        if workload.output_tokens == 1:
            remedy = "pools apart need something to decode; ask for serving: together"
            yield Problem(where, "workload.output_tokens", "1", remedy)
    if instance.load_profile is not None and is_steady(instance):
        remedy = "pools apart of requests that keep coming take equal expert loads; leave it out"
        yield Problem(instance.name, "load_profile", "given", remedy)


def pool_instance(instance: Instance, pool: Pool, tokens: Tokens = ANY_TOKEN) -> Instance:
    """Return the question of one pool; the other has at least one of the GPUs."""
    phase = _prefill if pool == "prefill" else _decode
    scenarios = tuple(phase(instance, scenario, tokens) for scenario in instance.scenarios)
    budget = max(1, instance.max_gpus - 1)
    widest = min(budget, instance.max_stage_gpus)
    changes = {"scenarios": scenarios, "max_gpus": budget, "max_stage_gpus": widest, "serving": "together"}
    return instance.model_copy(update=changes)


def _prefill(instance: Instance, scenario: Scenario, tokens: Tokens) -> Scenario:
    workload, limits = scenario.workload, scenario.limits
    if isinstance(workload, Burst):
        sending = sending_time(instance, workload.input_tokens)
        changed: Burst | ClosedLoop = workload.model_copy(update={"phase": "prefill", "sending": sending})
        return scenario.model_copy(update={"workload": changed, "limits": Limits(ttft=limits.ttft)})
    prompts = RESOLUTION * max(1, tokens.rounded)
    window = max(1, ceil((prompts + tokens.rounded) * 10**9 / rate_of(scenario, tokens)))
    return prompts_within(instance, scenario, prompts, window, tokens.hurry)


def prompts_within(
    instance: Instance, scenario: Scenario, prompts: int, window: int, hurry: Fraction = Fraction(1)
) -> Scenario:
    """Return what replicas that prefill alone are asked: so many prompts of a scenario within a window, ns."""
    workload = scenario.workload
    assert not isinstance(workload, Burst)
    first, limit, hit = _first_token(scenario)
    changed = ClosedLoop(
        input_tokens=max(1, ceil(workload.input_tokens * (1 - hit))),
        output_tokens=workload.output_tokens,
        sequence_length_range=workload.sequence_length_range,
        concurrency=prompts,
        independent=True,
        first_prompt_tokens=first,
        phase="prefill",
        sending=sending_time(instance, first),
        window=window,
    )
    limit = None if limit is None else max(1, floor(limit / hurry))
    return scenario.model_copy(update={"workload": changed, "limits": Limits(ttft=limit)})


def _first_token(scenario: Scenario) -> tuple[int, int | None, Fraction]:
    """Tokens of the prompt whose first token a limit is about, that limit (ns), and what the cache holds of prompts."""
    workload = scenario.workload
    if isinstance(workload, OpenLoop):
        needs = needs_of(scenario)
        return needs.prompt, needs.ttft, workload.prefix_cache_hit
    return workload.input_tokens, scenario.limits.ttft, Fraction(0)


def rate_of(scenario: Scenario, tokens: Tokens) -> Fraction:
    """Requests a second of a scenario that keeps coming, at least, for mean times per token up to the slowest."""
    workload = scenario.workload
    if isinstance(workload, OpenLoop):
        return needs_of(scenario).share * workload.rate * tokens.rate
    assert isinstance(workload, ClosedLoop)
    assert scenario.limits.ttft is not None
    cycle = scenario.limits.ttft + (workload.output_tokens - 1) * tokens.slowest
    return workload.concurrency * tokens.rate * 10**9 / cycle


def decoding_of(scenario: Scenario, tokens: Tokens) -> Fraction:
    """Requests of a scenario that decode at once, at least, for mean times per token from the fastest on."""
    workload = scenario.workload
    spent = (workload.output_tokens - 1) * tokens.fastest
    if isinstance(workload, OpenLoop):
        return needs_of(scenario).share * workload.rate * tokens.rate * spent / 10**9
    assert isinstance(workload, ClosedLoop)
    assert scenario.limits.ttft is not None
    return min(Fraction(1), tokens.rate * spent / (scenario.limits.ttft + spent)) * workload.concurrency


def _decode(instance: Instance, scenario: Scenario, tokens: Tokens) -> Scenario:
    del instance
    workload, limits = scenario.workload, scenario.limits
    if isinstance(workload, Burst):
        changed: Burst | ClosedLoop = workload.model_copy(update={"phase": "decode"})
        return scenario.model_copy(update={"workload": changed, "limits": Limits(tpot=limits.tpot)})
    return decoding_within(scenario, max(1, floor(decoding_of(scenario, tokens))), floor(tokens.slowest))


def decoding_within(scenario: Scenario, requests: int, token: int) -> Scenario:
    """Return what replicas that decode alone are asked: so many requests of a scenario, at a time per token, ns."""
    workload, limits = scenario.workload, scenario.limits
    assert not isinstance(workload, Burst)
    is_open = isinstance(workload, OpenLoop)
    own = needs_of(scenario).tpot if is_open else limits.tpot
    limit = min(token, own or token)
    changed = ClosedLoop(
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        sequence_length_range=workload.sequence_length_range,
        kv_cache=workload.kv_cache,
        concurrency=requests,
        independent=is_open,
        phase="decode",
    )
    return scenario.model_copy(update={"workload": changed, "limits": Limits(tpot=max(1, limit))})
