"""Options of a stage: every (attn_tp, attn_dp, moe_tp, moe_ep) that the rules accept, narrow ones first."""

from __future__ import annotations

from dataclasses import replace

from shardproof.formulations.engines.rules import Rule, broken_rules, has_experts
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
    routed = has_experts(instance)
    found: list[Option] = []
    for gpus in range(1, instance.max_stage_gpus + 1):
        for attn_tp in divisors(gpus):
            for moe_ep in divisors(gpus) if routed else (1,):
                option = Option(attn_tp=attn_tp, attn_dp=gpus // attn_tp, moe_tp=gpus // moe_ep, moe_ep=moe_ep)
                if not broken_rules(instance, option, rules):
                    extra = EXTRA_SLOTS if instance.load_profile is not None and moe_ep > 1 else (0,)
                    found += [replace(option, extra_slots=slots) for slots in extra]
    return tuple(found)
