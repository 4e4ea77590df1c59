"""Requests and settings beyond a model's positions: refused by name, judged by rule, or reached by stretching."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from shardproof.formulations.engines.rules import broken_rules, rules_of
from shardproof.formulations.engines.told import longest_request
from shardproof.instances.catalogue import load_model
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.option import Option
from shardproof.instances.resolve import resolve_tree
from shardproof.instances.rope import RopeScaling
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve

YARN = {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32768}
ONE = Option(1, 1, 1, 1)


def ask(engine: dict[str, Any], *, tokens: int = 4000, model: str = "qwen3-8b") -> Instance:
    """One request of ``tokens`` prompt tokens on an H100."""
    load = {"kind": "burst", "batch_size": 1, "input_tokens": tokens, "output_tokens": 100}
    tree = {"name": "long", "model": model, "device": "h100-sxm", "engine": engine, "workload": load}
    return resolve_tree(tree | {"limits": {"max_gpus": 1}}, where="test")


def broken(instance: Instance) -> list[str]:
    """Names of the rules that one GPU breaks."""
    return [rule.name for rule in broken_rules(instance, ONE, rules_of(instance.engine))]


@pytest.mark.parametrize("model", ["qwen3-8b", "gpt-oss-20b", "deepseek-r1-distill-llama-8b", "gemma-3-4b-it"])
@pytest.mark.parametrize("version", ["0.9", "0.19", "0.33"])
def test_vllm_refuses_more_than_the_positions(model: str, version: str) -> None:
    """One token beyond is refused, the last position is not."""
    positions = load_model(model).max_position
    told = {"name": "vllm", "version": version}
    assert broken(ask(told | {"max_model_len": positions}, model=model)) == []
    assert broken(ask(told | {"max_model_len": positions + 1}, model=model)) == ["context"]
    allowed = told | {"max_model_len": positions + 1, "allow_long_max_model_len": True}
    assert broken(ask(allowed, model=model)) == []


@pytest.mark.parametrize(("version", "refused"), [(None, True), ("0.5.1", True), ("0.5.0", False), ("0.4.6", False)])
def test_sglang_refuses_by_version(version: str | None, refused: bool) -> None:
    """Releases before 0.5.1 warned."""
    instance = ask({"name": "sglang", "version": version, "context_length": 50_000})
    assert broken(instance) == (["context"] if refused else [])


def test_tensorrt_llm_lowers_what_it_is_told() -> None:
    """It starts, with the model's positions as its longest request."""
    told = {"name": "trtllm", "max_seq_len": 50_000}
    assert broken(ask(told)) == []
    assert longest_request(ask(told)) == 40_960
    assert longest_request(ask(told | {"allow_long_max_model_len": True})) == 50_000


def test_requests_beyond_the_positions_name_the_remedy() -> None:
    """The message says what can be stated; stated, the same question is answered."""
    with pytest.raises(InputError, match="rope_scaling"):
        ask({"name": "vllm"}, tokens=60_000)
    assert ask({"name": "vllm", "rope_scaling": YARN}, tokens=60_000).model.max_position == 131_072
    with pytest.raises(InputError, match="131072 positions"):
        ask({"name": "vllm", "rope_scaling": YARN}, tokens=131_072)


def test_a_scaling_that_cannot_be_is_refused() -> None:
    """YaRN without its original length, unknown types and text that is no JSON have one message each."""
    for wrong, said in (
        ({"rope_type": "yarn", "factor": 4}, "original_max_position_embeddings"),
        ({"rope_type": "llama9", "factor": 4}, "rope_type"),
        ("yarn", "JSON"),
        ({"factor": "0.5", "original_max_position_embeddings": 10}, "factor"),
    ):
        with pytest.raises(InputError, match=said):
            ask({"name": "vllm", "rope_scaling": wrong})


def test_linear_scaling_multiplies_the_model_own_positions() -> None:
    """YaRN counts from the first training's positions."""
    assert RopeScaling.model_validate({"type": "linear", "factor": "2.5"}).positions(1000) == 2500
    assert RopeScaling.model_validate(YARN).positions(40_960) == 131_072


@pytest.mark.parametrize(
    ("engine", "flag", "section"),
    [
        ({"name": "vllm"}, "--hf-overrides", "rope_parameters"),
        ({"name": "vllm", "version": "0.11"}, "--hf-overrides", "rope_scaling"),
        ({"name": "sglang"}, "--json-model-override-args", "rope_scaling"),
    ],
)
def test_the_command_stretches_the_positions(engine: dict[str, Any], flag: str, section: str) -> None:
    """The flag's JSON holds the scaling, and YaRN's positions where the engine would not multiply them."""
    asked = ask(engine | {"rope_scaling": json.dumps(YARN)}, tokens=60_000)
    result = solve(asked, settings=Settings(certify=False, explain=False))
    words = shlex.split(result.engine_flags[0])
    told = json.loads(words[words.index(flag) + 1])
    assert told[section]["factor"] == 4
    assert told["max_position_embeddings"] == 131_072


def test_permission_stands_before_the_command() -> None:
    """Only where a request needs it."""
    settings = Settings(certify=False, explain=False)
    needed = solve(ask({"name": "vllm", "allow_long_max_model_len": True}, tokens=60_000), settings=settings)
    assert needed.engine_flags[0].startswith("VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 vllm serve")
    idle = solve(ask({"name": "vllm", "allow_long_max_model_len": True}), settings=settings)
    assert idle.engine_flags[0].startswith("vllm serve")


def test_no_plan_says_which_rule_refuses_every_layout() -> None:
    """The answer names the rule, in `solve` as in `explain`."""
    result = solve(ask({"name": "vllm", "max_model_len": 50_000}), settings=Settings())
    assert result.status == "infeasible"
    assert any("'context'" in sentence for sentence in result.explanation)
