"""What makes a plan as large as it is: the limits that rule out fewer GPUs, and the engine's rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.engines.rules import ENGINES, PHYSICAL, Rule
from shardproof.instances.clock import now
from shardproof.instances.units import format_gpus
from shardproof.solver.problem import under_rules, with_any_widths, with_wide_stages
from shardproof.solver.proof.evidence import Level
from shardproof.solver.search import fleet_questions
from shardproof.solver.search.query import Interrupted, Query


def stopper(stop_at: float) -> Callable[[], None]:
    """Return a check that ends a search once the clock is past ``stop_at``."""

    def check() -> None:
        if now() > stop_at:
            raise Interrupted

    return check


GROUPS = {"memory": "memory", "ttft": "TTFT", "tpot": "TPOT", "running": "max_num_seqs"}


def limits_that_rule_out(deployment: Deployment, gpus: int, stop_at: float = math.inf) -> tuple[str, ...]:
    """Smallest set of limit groups that alone rules out every plan of at most ``gpus`` GPUs (empty: none does)."""
    mixed = deployment.instance.replicas == "free"
    limited = [scenario.limits for scenario in deployment.instance.scenarios]
    present = ["memory"]
    present += ["ttft"] if any(limits.ttft is not None for limits in limited) else []
    present += ["tpot"] if any(limits.tpot is not None for limits in limited) else []
    present += ["running"] if deployment.instance.engine_settings.max_num_seqs is not None else []
    for size in range(1, len(present) + 1):
        for kept in combinations(present, size):
            query = Query(gpus, ignored=frozenset(GROUPS) - set(kept))
            if fleet_questions.ruled_out(deployment, query, mixed=mixed, check_stop=stopper(stop_at)):
                return kept
    return ()


def limit_sentences(deployment: Deployment, gpus: int | None, stop_at: float = math.inf) -> tuple[str, ...]:
    """Say which limits keep the plan from fewer GPUs (``None``: which leave no plan at all)."""
    most = deployment.instance.max_gpus if gpus is None else gpus - 1
    if most < 1:
        return ("one GPU is enough",)
    kept = limits_that_rule_out(deployment, most, stop_at)
    if not kept:
        return ()
    names = " and ".join(GROUPS[group] for group in kept)
    together = "alone rules" if len(kept) == 1 else "together rule"
    return (f"{names} {together} out {format_gpus(most)}",)


def fewest_gpus(deployment: Deployment, stop_at: float = math.inf) -> int | None:
    """Fewest GPUs of any fleet that the instance allows, without later levels (``None``: no plan)."""
    mixed = deployment.instance.replicas == "free"
    return fleet_questions.fewest_gpus(deployment, mixed=mixed, check_stop=stopper(stop_at))


def restriction_sentences(gpus: int | None, alike: Level) -> tuple[str, ...]:
    """Say what it would cost if replicas had to be alike, where a fleet whose replicas are not does with fewer GPUs."""
    if gpus is None or (alike.value is not None and alike.value <= gpus):
        return ()
    if alike.value is None and alike.bound is not None:
        cost = format_gpus(alike.bound - gpus)
        return (f"replicas that are all alike would need at least {alike.bound} GPUs: alike costs at least {cost}",)
    if alike.value is None:
        return ("replicas that are all alike have no plan within the limits",)
    if not alike.proven:
        return (f"the best plan known of replicas that are all alike has {alike.value} GPUs",)
    return (
        f"replicas that are all alike would need {alike.value} GPUs: alike costs {format_gpus(alike.value - gpus)}",
    )


def alike_sentences(deployment: Deployment, gpus: int | None, stop_at: float = math.inf) -> tuple[str, ...]:
    """Say whether a fleet of replicas that are not alike would do with fewer GPUs, where the instance rules it out."""
    if deployment.instance.replicas == "free" or gpus == 1:
        return ()
    smaller = deployment if gpus is None else deployment.limited(gpus)
    free = fleet_questions.fewest_gpus(smaller, mixed=True, check_stop=stopper(stop_at))
    if free is None or (gpus is not None and free >= gpus):
        return ("that replicas are alike costs no GPU",) if gpus is not None else ()
    if gpus is None:
        return (f"replicas that need not be alike would do with {format_gpus(free)}",)
    return (f"replicas that need not be alike would do with {free} GPUs: alike costs {format_gpus(gpus - free)}",)


def lifted_sentences(deployment: Deployment, gpus: int | None, stop_at: float = math.inf) -> Iterator[str]:
    """Say which restrictions of the search space cost a GPU, each lifted alone (`formulations.restrictions`)."""
    if gpus == 1:
        return
    instance = deployment.instance
    most = instance.max_gpus if gpus is None else gpus
    lifts = []
    if instance.stage_widths != "any":
        lifts.append(("stage_widths: any", with_any_widths))
    if instance.max_stage_gpus < most:
        lifts.append((f"max_stage_gpus above {instance.max_stage_gpus}", with_wide_stages))
    for words, lift in lifts:
        fewer = fewest_gpus(lift(deployment, most), stop_at)
        if fewer is not None and (gpus is None or fewer < gpus):
            yield f"with {words} {format_gpus(fewer)} would do"


def engine_sentences(deployment: Deployment, gpus: int | None, stop_at: float = math.inf) -> tuple[str, ...]:
    """Say which rules of the engine, if any, make the plan larger than without an engine."""
    instance = deployment.instance
    own = ENGINES[instance.engine]
    if not own:
        return ()
    free = fewest_gpus(_with_rules(deployment, PHYSICAL, gpus), stop_at)
    if free is None or (gpus is not None and free >= gpus):
        return (f"no rule of {instance.engine} costs a GPU",) if gpus is not None else ()
    blamed = list(_blamed(deployment, own, gpus, stop_at))
    found = "no plan" if gpus is None else f"{gpus} GPUs"
    head = f"{instance.engine} needs {found} where {free} would do without its rules"
    if not blamed:
        return (f"{head}; no single rule is the cause, only several together",)
    return (head, *(f"without rule '{rule.name}' ({rule.sentence}): {fewer} GPUs" for rule, fewer in blamed))


def _blamed(
    deployment: Deployment, own: tuple[Rule, ...], gpus: int | None, stop_at: float
) -> Iterator[tuple[Rule, int]]:
    """Yield the rules whose removal alone makes a smaller plan possible, with its GPUs."""
    for rule in own:
        kept = PHYSICAL + tuple(other for other in own if other is not rule)
        fewer = fewest_gpus(_with_rules(deployment, kept, gpus), stop_at)
        if fewer is not None and (gpus is None or fewer < gpus):
            yield rule, fewer


def _with_rules(deployment: Deployment, rules: tuple[Rule, ...], gpus: int | None) -> Deployment:
    return under_rules(deployment if gpus is None else deployment.limited(gpus), rules)
