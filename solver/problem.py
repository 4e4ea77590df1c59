"""The one door from an instance to its deployment problem, with the placement search behind its load profile."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from shardproof.formulations.costs.serving.doubt import margin_of
from shardproof.formulations.costs.sharding import divide_up
from shardproof.formulations.deployment.balance import Balance, ImbalanceTable
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.options import EXTRA_SLOTS, options_of
from shardproof.formulations.engines.rules import Rule, rules_of
from shardproof.formulations.open_loop import is_open
from shardproof.instances.errors import InputError, Problem
from shardproof.instances.instance import Instance
from shardproof.instances.layers import MixtureOfExperts
from shardproof.instances.load_profile.profile import LoadProfile

PLACEMENT_EFFORT = 80_000_000
"""Swaps that the placement search looks at for each expert-parallel width and slot count: about a second.

Counted, not timed: the same question must yield the same program on a busy machine, or no certificate of it holds.
"""


NOT_GUESSING = "none of them guessed tokens ahead, so that doubt about acceptance is not in it"
"""What held-out residuals leave out of speculative decoding."""

TABLES_KEPT = 64
"""Placed widths that are kept: questions that differ in limits alone place their experts once."""


def deployment_of(instance: Instance) -> Deployment:
    """Return the deployment problem; a load profile is placed first, for every width that the rules accept.

    Requests that come by themselves are answered by `solve` and `simulate` only.

    A confidence level becomes the margin that held-out residuals of measured deployments ask for. Every verb
    comes through here, so that one question has one answer.
    """
    refuse_open(instance)
    if instance.serving != "together":
        remedy = "solve, explain, predict, audit, simulate, export and verify answer it; ask others for together"
        raise InputError([Problem(instance.name, "serving", instance.serving, remedy)])
    if instance.confidence is not None:
        instance = with_confidence(instance, instance.confidence)
    return Deployment(instance, imbalance=_table(instance, rules_of(instance.engine)))


def refuse_open(instance: Instance) -> None:
    """Refuse requests that come by themselves where a program of bursts and closed loops is asked for."""
    if is_open(instance):
        remedy = "this asks for a burst or a closed loop"
        raise InputError([Problem(instance.name, "workload.kind", "requests", remedy)])


def with_wide_stages(deployment: Deployment, max_gpus: int) -> Deployment:
    """Return the same question with stages as wide as the GPU budget."""
    return _changed(deployment, {"max_gpus": max_gpus, "max_stage_gpus": max_gpus})


def with_any_widths(deployment: Deployment, max_gpus: int) -> Deployment:
    """Return the same question with stages of any number of a node's GPUs."""
    return _changed(deployment, {"max_gpus": max_gpus, "stage_widths": "any"})


def _changed(deployment: Deployment, changes: dict[str, object]) -> Deployment:
    changed = deployment.instance.model_copy(update=changes)
    imbalance = deployment.imbalance and _table(changed, deployment.rules)
    return Deployment(changed, rules=deployment.rules, clock=deployment.clock, imbalance=imbalance)


def under_rules(deployment: Deployment, rules: tuple[Rule, ...]) -> Deployment:
    """Return the same question under other rules than its engine's."""
    return deployment.under(rules, imbalance=_table(deployment.instance, rules))


def with_confidence(instance: Instance, level: Fraction) -> Instance:
    """Return the instance with the margins of a confidence level, no less than its own.

    A plan is held to the upper end of the interval that `predict` prints at that level, of TPOT and, in closed
    loops, of TTFT.
    """
    margin = max(instance.margin, margin_of(instance, "tpot", level))
    first = max(instance.margin, margin_of(instance, "ttft", level))
    said = (
        f"confidence {float(level):.0%} is doubt about the model, no percentile of requests: times are inflated by "
        f"{float(margin):.1%}, TTFTs of closed loops by {float(first):.1%}, the upper ends of the intervals that hold "
        f"{float(level):.0%} of measured deployments"
    )
    if instance.speculative is not None:
        said += f"; {NOT_GUESSING}"
    changes = {"margin": margin, "loop_ttft_margin": first, "assumptions": (*instance.assumptions, said)}
    return instance.model_copy(update=changes)


def _table(instance: Instance, rules: tuple[Rule, ...]) -> ImbalanceTable | None:
    source = instance.load_profile
    if source is None:
        return None
    experts = _experts(instance, source)
    profile = _profile(source, layers=len(experts), experts=experts[0].experts)
    widths = sorted({option.moe_ep for option in options_of(instance, rules)} - {1})
    tables: list[dict[tuple[int, int], Balance]] = [{} for _ in experts]
    for ranks in widths:
        for layer, cells in enumerate(_placed(profile, ranks)):
            tables[layer] |= cells
    return tuple(tables)


def _profile(source: LoadProfile | str, *, layers: int, experts: int) -> LoadProfile:
    from shardproof.instances.load_profile.read import fitted, load_profile

    if isinstance(source, LoadProfile):
        return fitted(source, layers=layers, experts=experts)
    return load_profile(source, layers=layers, experts=experts)


@lru_cache(maxsize=TABLES_KEPT)
def _placed(profile: LoadProfile, ranks: int) -> tuple[dict[tuple[int, int], Balance], ...]:
    """Place every layer on that many ranks with each count of extra slots: its balance by (ranks, extra slots)."""
    from shardproof.solver.placement.imbalance import searched_table
    from shardproof.solver.placement.work import PlaceSettings

    fewest = divide_up(profile.experts, ranks)
    found = searched_table(
        profile,
        moe_ep=(ranks,),
        slots_per_rank=lambda _: [fewest + extra for extra in EXTRA_SLOTS],
        settings=PlaceSettings(effort=PLACEMENT_EFFORT),
    )
    cells: list[dict[tuple[int, int], Balance]] = [{} for _ in range(profile.layers)]
    for key, cell in found.items():
        cells[key.layer][ranks, key.slots_per_rank - fewest] = Balance(cell.lower, cell.achieved, cell.slots)
    return tuple(cells)


def _experts(instance: Instance, source: LoadProfile | str) -> list[MixtureOfExperts]:
    named = source.source if isinstance(source, LoadProfile) else source
    parts = (instance.model.kinds[kind].feed_forward for kind in instance.model.layer_kinds)
    experts = [part for part in parts if isinstance(part, MixtureOfExperts)]
    if not experts:
        raise InputError([Problem(instance.name, "load_profile", named, f"{instance.model.name} has no experts")])
    if len({part.experts for part in experts}) > 1:
        raise InputError([Problem(instance.name, "load_profile", named, "layers differ in their number of experts")])
    return experts
