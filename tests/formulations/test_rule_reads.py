"""Each rule reads no more of an option than it says: options alike in that are judged alike."""

from __future__ import annotations

import pytest

from shardproof.formulations.deployment.options import options_of
from shardproof.formulations.engines.rules import ENGINES, PHYSICAL, broken_rules, rules_of
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree

CASES = [
    ("qwen3-235b-a22b-fp8", "h100-sxm", {}),
    ("qwen2.5-32b-instruct-gptq-int4", "l40s", {"fixed": {"tensor_parallel": 2}}),
    ("deepseek-v4-pro", "b200-sxm", {}),
    ("nemotron-3-nano-30b-a3b-fp8", "a10g", {"stage_widths": "any"}),
    ("llama-3.1-8b", "h100-sxm", {"speculative": {"method": "ngram", "draft_tokens": 2, "acceptance": 0.5}}),
]
OPTIONS = [
    Option(attn_tp, attn_dp, attn_tp * attn_dp // moe_ep, moe_ep, slots)
    for attn_tp in (1, 2, 3, 4, 8)
    for attn_dp in (1, 2, 4, 6)
    for moe_ep in (1, 2, 3, 8)
    if attn_tp * attn_dp % moe_ep == 0
    for slots in (0, 1)
]


def asked(model: str, device: str, engine: str, **fields: object) -> Instance:
    workload = {"kind": "burst", "batch_size": 8, "input_tokens": 512, "output_tokens": 64}
    tree = {"model": model, "device": device, "engine": engine, "workload": workload, "limits": {}, **fields}
    return resolve_tree(tree, where="rules")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("model", "device", "fields"), CASES)
def test_rules_read_what_they_say(model: str, device: str, fields: dict[str, object], engine: str) -> None:
    instance = asked(model, device, engine, **fields)
    for rule in {*PHYSICAL, *ENGINES[engine]}:
        verdicts: dict[tuple[object, ...], bool] = {}
        for option in OPTIONS:
            key = tuple(getattr(option, name) for name in rule.reads)
            assert verdicts.setdefault(key, rule.accepts(instance, option)) == rule.accepts(instance, option), rule.name


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("model", "device", "fields"), CASES)
def test_options_are_all_that_break_no_rule(model: str, device: str, fields: dict[str, object], engine: str) -> None:
    instance = asked(model, device, engine, **fields)
    found, rules = set(options_of(instance, rules_of(engine))), rules_of(engine)
    for option in OPTIONS:
        if not option.extra_slots and option.gpus <= instance.max_stage_gpus:
            assert (option in found) == (not broken_rules(instance, option, rules))
