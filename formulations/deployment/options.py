"""Options of a stage: every (attn_tp, attn_dp, moe_tp, moe_ep) that the rules accept, narrow ones first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from shardproof.formulations.engines.rules import Rule, broken_rules, has_experts, keeping_rules
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option


def divisors(number: int) -> tuple[int, ...]:
    """Divisors in ascending order."""
    return tuple(candidate for candidate in range(1, number + 1) if number % candidate == 0)


EXTRA_SLOTS = (0, 1)
"""Expert slots of a rank beyond the fewest, offered where a load profile gives them something to balance."""


def options_of(instance: Instance, rules: tuple[Rule, ...]) -> tuple[Option, ...]:
    """Return the options up to ``max_stage_gpus`` GPUs that break none of the rules.

    Without experts (moe_tp, moe_ep) means nothing and is written (GPUs, 1). Under a load profile an
    expert-parallel rank may have one slot more than the fewest.
    """
    found: list[Option] = []
    for option in keeping_rules(instance, _candidates(instance), rules):
        extra = EXTRA_SLOTS if instance.load_profile is not None and option.moe_ep > 1 else ()
        found += [replace(option, extra_slots=slots) for slots in extra] or [option]
    return tuple(found)


def why_no_option(instance: Instance, rules: tuple[Rule, ...]) -> tuple[str, ...]:
    """Say which rules leave no option at all: those that refuse every option of the fixed degrees, else any."""
    asked = [option for option in _candidates(instance) if instance.fixed.admit(option)]
    broken = [broken_rules(instance, option, rules) for option in asked]
    some = dict.fromkeys(rule for found in broken for rule in found)
    blamed = [rule for rule in some if all(rule in found for found in broken)] or list(some)
    degrees = " and ".join(f"{name.replace('_', ' ')} {degree}" for name, degree in instance.fixed.stated.items())
    head = f"no stage of up to {instance.max_stage_gpus} GPUs {degrees and f'has {degrees} and '}keeps every rule"
    return tuple(f"{head}: '{rule.name}' ({rule.sentence})" for rule in blamed) or (head,)


def _candidates(instance: Instance) -> tuple[Option, ...]:
    return _all_up_to(instance.max_stage_gpus, has_experts(instance))


@lru_cache(maxsize=8)
def _all_up_to(widest: int, routed: bool) -> tuple[Option, ...]:
    return tuple(_of_widths(widest, routed))


def _of_widths(widest: int, routed: bool) -> Iterator[Option]:
    for gpus in range(1, widest + 1):
        for attn_tp in divisors(gpus):
            for moe_ep in divisors(gpus) if routed else (1,):
                yield Option(attn_tp=attn_tp, attn_dp=gpus // attn_tp, moe_tp=gpus // moe_ep, moe_ep=moe_ep)
