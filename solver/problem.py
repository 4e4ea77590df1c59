"""The deployment problem of an instance, with the placement search behind its load profile."""

from __future__ import annotations

from fractions import Fraction

from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.balance import Balance, ImbalanceTable
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.options import EXTRA_SLOTS, options_of
from shardproof.formulations.engines.rules import rules_of
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.layers import MixtureOfExperts

PLACED_WITHIN_S = 1.0
"""Seconds of placement search for each expert-parallel width and slot count."""


def deployment_of(instance: Instance) -> Deployment:
    """Return the deployment problem; a load profile is placed first, for every width that the rules accept.

    A confidence level becomes the margin that held-out residuals of measured deployments ask for.
    """
    if instance.confidence is not None:
        instance = with_confidence(instance, instance.confidence)
    if instance.load_profile is None:
        return Deployment(instance)
    return Deployment(instance, imbalance=_table(instance, instance.load_profile))


def with_confidence(instance: Instance, level: Fraction) -> Instance:
    """Return the instance with the margin of a confidence level, no less than its own."""
    from shardproof.formulations.costs.serving.confidence import parse_level, upper_bound
    from shardproof.formulations.costs.serving.factors import is_known, setting_of

    engine = "vllm" if instance.engine == "any" else instance.engine
    known = is_known(setting_of(instance.model, instance.device, engine))
    factor = upper_bound(1.0, parse_level(f"{float(level):g}"), engine=engine, device=instance.device.name, known=known)
    margin = max(instance.margin, Fraction(round(factor * 10_000) - 10_000, 10_000))
    said = f"times are inflated by {float(margin):.1%}: {float(level):.0%} of measured deployments stay within that"
    return instance.model_copy(update={"margin": margin, "assumptions": (*instance.assumptions, said)})


def _table(instance: Instance, source: str) -> ImbalanceTable:
    from shardproof.instances.load_profile.read import load_profile
    from shardproof.solver.placement.imbalance import searched_table
    from shardproof.solver.placement.work import PlaceSettings

    experts = _experts(instance, source)
    profile = load_profile(source, layers=len(experts), experts=experts[0].experts)
    widths = sorted({option.moe_ep for option in options_of(instance, rules_of(instance.engine))} - {1})
    fewest = {ranks: divide_up(profile.experts, ranks) for ranks in widths}
    found = searched_table(
        profile,
        moe_ep=widths,
        slots_per_rank=lambda ranks: [fewest[ranks] + extra for extra in EXTRA_SLOTS],
        settings=PlaceSettings(time_limit=PLACED_WITHIN_S, sharpen=False),
    )
    tables: list[dict[tuple[int, int], Balance]] = [{} for _ in experts]
    for key, cell in found.items():
        place = (key.moe_ep, key.slots_per_rank - fewest[key.moe_ep])
        tables[key.layer][place] = Balance(cell.lower, cell.achieved, cell.slots)
    return tuple(tables)


def _experts(instance: Instance, source: str) -> list[MixtureOfExperts]:
    parts = (instance.model.kinds[kind].feed_forward for kind in instance.model.layer_kinds)
    experts = [part for part in parts if isinstance(part, MixtureOfExperts)]
    if not experts:
        raise InputError([Problem(instance.name, "load_profile", source, f"{instance.model.name} has no experts")])
    if len({part.experts for part in experts}) > 1:
        raise InputError([Problem(instance.name, "load_profile", source, "layers differ in their number of experts")])
    return experts
