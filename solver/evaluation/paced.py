r"""The time per token at which a plan's decode pool runs where requests keep coming.

By Little's law :math:`n(\tau)` requests decode at a mean time per token :math:`\tau` (`decoding_of`), and with n of
them an iteration takes :math:`f(n)`: the pool runs at the :math:`\tau` with :math:`f(n(\tau)) = \tau`. Times of
iterations grow with a start that is not zero, so that coming down from the slowest time allowed ends at that one.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from shardproof.formulations.apart.phases import (
    Tokens,
    check_apart,
    decoding_of,
    is_steady,
    pool_instance,
    usual_tokens,
)
from shardproof.formulations.costs.operations import LinkName
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.cells import decode_step
from shardproof.formulations.timeline import tpot
from shardproof.instances.instance import Instance
from shardproof.instances.plan import Group, Plan
from shardproof.instances.workload import Burst, Scenario
from shardproof.solver.problem import deployment_of

MOST_STEPS = 40
CLOSE = Fraction(1001, 1000)


def paced(instance: Instance, plan: Plan) -> Tokens:
    """Return the time per token of a plan apart; the slowest that the limits allow where the pool is no faster."""
    return pace_of(instance, plan.in_pool("decode").parts)


def pace_of(instance: Instance, groups: tuple[Group, ...]) -> Tokens:
    """Return the time per token at which these groups decode all requests of an instance."""
    check_apart(instance)
    slowest = usual_tokens(instance)
    if not is_steady(instance):
        return slowest
    deployment = deployment_of(pool_instance(instance, "decode", slowest))
    token = slowest.slowest
    for _ in range(MOST_STEPS):
        found = Fraction(_iteration(deployment, groups, instance, token))
        if found * CLOSE >= token:
            break
        token = found
    return Tokens(token, token)


def _iteration(deployment: Deployment, groups: tuple[Group, ...], instance: Instance, token: Fraction) -> int:
    """Longest iteration of any group and scenario with what decodes at a time per token, ns."""
    weights = [float(max((share.requests for share in group.shares), default=1)) or 1.0 for group in groups]
    whole = sum(weight * group.replicas for weight, group in zip(weights, groups, strict=True))
    found = [1]
    for asked, scenario in zip(instance.scenarios, deployment.instance.scenarios, strict=True):
        if isinstance(asked.workload, Burst):
            continue
        flight = float(decoding_of(asked, Tokens(token, token)))
        found += [
            _round(deployment, group, scenario, max(1, round(flight * weight / whole)))
            for weight, group in zip(weights, groups, strict=True)
        ]
    return max(found)


def _round(deployment: Deployment, group: Group, scenario: Scenario, sequences: int) -> int:
    """Time of one round of so many sequences on a replica, in as many microbatches as it has stages, ns."""
    inside = group.width <= deployment.instance.device.devices_per_node
    link: LinkName = "scale_up" if inside else "scale_out"
    count, times = min(len(group.stages), sequences), []
    step = decode_step(scenario, divide_up(sequences, count), deployment.instance.speculative)
    for stage in group.stages:
        first, last = stage.layers
        ends = deployment.end_times(stage.option, step, link)
        kinds = Counter(deployment.layer_kinds[first : last + 1]).items()
        layers = sum(deployment.layer_time(kind, stage.option, step) * number for kind, number in kinds)
        after = ends.last if last == deployment.instance.model.layer_count - 1 else 0
        times.append(layers + (ends.entry if first else ends.first) + after)
    return tpot(times, count)
