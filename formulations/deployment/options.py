"""Options of a stage: every (attn_tp, attn_dp, moe_tp, moe_ep) that the rules accept, narrow ones first."""

from __future__ import annotations

from formulations.deployment.tables import Option
from formulations.engines.rules import Rule, broken_rules, has_experts
from instances.instance import Instance


def divisors(number: int) -> tuple[int, ...]:
    """Divisors in ascending order."""
    return tuple(candidate for candidate in range(1, number + 1) if number % candidate == 0)


def options_of(instance: Instance, rules: tuple[Rule, ...]) -> tuple[Option, ...]:
    """Return the options up to ``max_stage_gpus`` GPUs that break none of the rules.

    Without experts (moe_tp, moe_ep) means nothing and is written (GPUs, 1).
    """
    routed = has_experts(instance)
    found: list[Option] = []
    for gpus in range(1, instance.max_stage_gpus + 1):
        for attn_tp in divisors(gpus):
            for moe_ep in divisors(gpus) if routed else (1,):
                option = Option(attn_tp=attn_tp, attn_dp=gpus // attn_tp, moe_tp=gpus // moe_ep, moe_ep=moe_ep)
                if not broken_rules(instance, option, rules):
                    found.append(option)
    return tuple(found)
