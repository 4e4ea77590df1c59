"""Rules of the engines: what each refuses, at the sizes that issue trackers report, and the page that lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.engines.rules import broken_rules, rules_of, runs_alone
from shardproof.formulations.engines.table import every_rule, rules_page
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree
from tests.oracles.published_configs import config, read

ROOT = Path(__file__).parents[2]
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
PACKED = {
    "quant_method": "compressed-tensors",
    "config_groups": {
        "group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 128}},
    },
    "ignore": ["lm_head"],
}
BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128]}
QWEN_72B = config("qwen2", "Qwen2ForCausalLM", (8192, 80, 64, 8), 29568, 152064)
GLM_9B = config("glm4", "Glm4ForCausalLM", (4096, 40, 32, 2), 13696, 151552, attention_bias=True)
SMALL = config("qwen2", "Qwen2ForCausalLM", (896, 24, 14, 2), 4864, 151936, tie_word_embeddings=True)
EXPERTS = config(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    (4096, 94, 64, 4),
    12288,
    151936,
    head_dim=128,
    num_experts=128,
    num_experts_per_tok=8,
    moe_intermediate_size=1536,
)


def question(tree, engine):
    return resolve_tree(
        {
            "name": "question",
            "model": read(tree).model_dump(mode="json"),
            "device": "h100-sxm",
            "engine": engine,
            "workload": {"kind": "burst", "batch_size": 4, "input_tokens": 64, "output_tokens": 16},
            "limits": {"max_gpus": 16},
        },
        where="question",
    )


def broken(tree, engine, *, tp=1, dp=1, moe_tp=None, ep=1, extra=0, stages=1):
    option = Option(tp, dp, tp * dp // ep if moe_tp is None else moe_tp, ep, extra)
    rules = rules_of(engine)
    return {rule.name for rule in broken_rules(question(tree, engine), option, rules, stages=stages)}


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("quantised", [AWQ, GPTQ, PACKED], ids=["awq", "gptq", "compressed-tensors"])
@pytest.mark.parametrize("tree", [QWEN_72B, GLM_9B], ids=["29568", "13696"])
def test_groups_cut_through_are_refused(engine, quantised, tree):
    stored = {**tree, "quantization_config": quantised}
    assert broken(stored, engine) == set()
    assert broken(stored, engine, tp=2) == {"whole-groups"}
    assert broken(tree, engine, tp=2) == set()


def test_groups_of_the_attention_output_count():
    stored = {**SMALL, "quantization_config": AWQ}  # 14 heads x 64 = 896 inputs: 448 a rank, no multiple of 128
    assert broken({**stored, "intermediate_size": 5120}, "vllm", tp=2) == {"whole-groups"}
    assert (
        broken({**stored, "intermediate_size": 5120, "quantization_config": {**AWQ, "group_size": 64}}, "vllm") == set()
    )


def test_groups_that_end_at_the_border_are_kept():
    stored = {**QWEN_72B, "intermediate_size": 29696, "quantization_config": AWQ}
    assert broken(stored, "vllm", tp=8) == set()
    assert broken(stored, "vllm", tp=16) == {"whole-groups"}


def test_groups_of_experts_are_halved_to_32():
    stored = {**EXPERTS, "quantization_config": {**AWQ, "group_size": 128}}
    assert broken(stored, "vllm", tp=8) == set()  # 192 a rank: groups of 64
    assert "whole-groups" in broken({**stored, "moe_intermediate_size": 1408}, "vllm", tp=8)  # 176: not even 32


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_blocks_of_fp8_are_kept_whole(engine):
    stored = {**EXPERTS, "quantization_config": BLOCKS}
    assert broken(stored, engine, tp=4) == set()
    assert broken(stored, engine, tp=8) == {"whole-blocks"}
    assert broken(stored, engine, tp=8, ep=8) == set()


def test_blocks_of_attention_count():
    stored = {
        **SMALL,
        "hidden_size": 1792,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 5120,
        "quantization_config": BLOCKS,
    }
    assert broken(stored, "vllm", tp=2) == set()
    assert broken(stored, "vllm", tp=4) == {"whole-blocks"}  # 448 columns of the query a rank


@pytest.mark.parametrize("engine", ["sglang", "trtllm"])
def test_experts_divide_over_the_ranks(engine):
    assert "whole-experts" in broken({**EXPERTS, "num_experts": 100}, engine, tp=8, ep=8)
    assert "whole-experts" not in broken({**EXPERTS, "num_experts": 100}, engine, tp=8, ep=8, extra=1)
    assert broken({**EXPERTS, "num_experts": 104}, engine, tp=8, ep=8) == set()
    assert broken({**EXPERTS, "num_experts": 100}, "vllm", tp=8, ep=8) == set()


def test_the_vocabulary_is_padded_then_divided():
    tree = {
        **QWEN_72B,
        "num_attention_heads": 96,
        "num_key_value_heads": 12,
        "hidden_size": 6144,
        "head_dim": 64,
        "intermediate_size": 12288,
    }
    assert broken({**tree, "vocab_size": 151936}, "vllm", tp=12) == {"nodes", "vocabulary"}
    assert broken({**tree, "vocab_size": 151872}, "vllm", tp=12) == {"nodes"}


def test_data_parallel_attention_with_ep_stays_in_one_stage():
    shape = {"dp": 4, "ep": 4}
    assert broken(EXPERTS, "sglang", **shape) == set()
    assert broken(EXPERTS, "sglang", **shape, stages=2) == {"one-stage-dp-ep"}
    assert broken(EXPERTS, "sglang", tp=4, ep=4, stages=2) == set()
    assert broken(EXPERTS, "vllm", **shape, stages=2) == set()


def test_data_parallel_attention_in_several_stages_stays_inside_a_node():
    instance = question(EXPERTS, "vllm")
    option, rules = Option(1, 4, 1, 4), rules_of("vllm")

    def names(**where):
        return {rule.name for rule in broken_rules(instance, option, rules, **where)}

    assert names(stages=2, spans=True) - names(stages=2) == {"dp-outside-pp"}
    assert names(spans=True) == names()


def test_the_program_forbids_a_second_stage_of_such_an_option():
    deployment = Deployment(question(EXPERTS, "sglang"))
    alone = [runs_alone(deployment.instance, option, deployment.rules) for option in deployment.options]
    assert any(alone)
    assert not all(alone)
    for layout in deployment.program.layouts:
        caps = [cap for cap in layout.caps if cap.memory]
        for cap in caps:
            for place, held in enumerate(alone):
                assert (cap.table.entry[place] > cap.limit) == held


def test_the_page_is_current_and_cites_every_rule():
    assert (ROOT / "docs" / "engine-rules.md").read_text() == rules_page(), "write rules_page() there again"
    assert all(rule.source for rule in every_rule())
    assert len({rule.name for rule in every_rule()}) == len(every_rule())


@pytest.mark.parametrize(
    ("device", "gpus", "accepted"),
    [("h100-sxm", 4, True), ("h100-sxm", 6, False), ("h100-sxm", 16, True), ("gb200-nvl72", 16, True),
     ("gb200-nvl72", 18, True), ("gb200-nvl72", 20, False), ("gb200-nvl72", 144, True)],
)  # fmt: skip
def test_stages_fill_nodes_or_are_powers_of_two_in_a_rack(device, gpus, accepted):
    tree = {"name": "t", "model": "deepseek-r1", "device": device, "workload": {
        "kind": "burst", "batch_size": 1, "input_tokens": 8, "output_tokens": 8}}  # fmt: skip
    broken_names = {
        rule.name for rule in broken_rules(resolve_tree(tree, where="t"), Option(1, gpus, 1, gpus), rules_of("any"))
    }
    assert ("nodes" not in broken_names) == accepted


@pytest.mark.parametrize(("engine", "holds"), [("vllm", True), ("vllm@0.12", False), ("sglang", False)])
def test_vllm_cuts_merged_projections_through_blocks_since_a_release(engine, holds):
    # 4 KV heads of 192 over 4 ranks are no whole blocks of 128, and the recipe published for vLLM starts.
    workload = {"kind": "burst", "batch_size": 4, "input_tokens": 64, "output_tokens": 16}
    tree = {"model": "mimo-v2-flash", "device": "h100-sxm", "engine": engine, "workload": workload}
    instance = resolve_tree(tree, where="question")
    broken_names = {rule.name for rule in broken_rules(instance, Option(4, 1, 1, 4), rules_of(instance.engine))}
    assert ("whole-blocks" not in broken_names) == holds
