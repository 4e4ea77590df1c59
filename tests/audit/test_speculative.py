"""Launches that guess tokens ahead: read as they say, judged so, and read back as they were written."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import shardproof
from shardproof.instances.errors import InputError
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.api.predicted import asked_and_stated
from shardproof.solver.audit.review import review
from shardproof.solver.evaluation.engine_flags import engine_flags
from shardproof.solver.evaluation.predictions import predict
from shardproof.solver.solve import solve

SGLANG = "python -m sglang.launch_server --model-path deepseek-ai/DeepSeek-R1 --tp-size 8"
EAGLE = "--speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1"
VLLM = "vllm serve deepseek-ai/DeepSeek-R1 -tp 8"


def question_tree(speculative: Any = None, **changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "model": "deepseek-r1",
        "device": "h200-sxm",
        "workload": {"kind": "closed-loop", "concurrency": 8, "input_tokens": 1024, "output_tokens": 1024},
        "limits": {"max_gpus": 16},
        "speculative": speculative,
    }
    return tree | changes


def question(speculative: Any = None, **changes: Any) -> Instance:
    return resolve_tree(question_tree(speculative, **changes), where="test")


def told(command: str, instance: Instance | None = None) -> Any:
    """What the plan of a command guesses ahead."""
    (audit,) = review(command, instance or question()).audits
    found = audit.context.instance
    return None if found is None else found.speculative


@pytest.mark.parametrize(
    ("command", "method", "guesses"),
    [
        (f"{SGLANG} {EAGLE} --speculative-num-draft-tokens 4", "mtp", 3),
        (f"{SGLANG} --speculative-algo NEXTN --speculative-num-steps 2", "mtp", 2),
        (f"{SGLANG} --speculative-algorithm NGRAM --speculative-num-draft-tokens 8", "ngram", 7),
        (f'{VLLM} --speculative-config \'{{"method": "deepseek_mtp", "num_speculative_tokens": 1}}\'', "mtp", 1),
        (f"{VLLM} --spec-method ngram --spec-tokens 4", "ngram", 4),
        (f"{VLLM} -sc '{{\"num_speculative_tokens\": 2}}'", "mtp", 2),
    ],
)
def test_engines_words_are_read(command: str, method: str, guesses: int) -> None:
    found = told(command)
    assert (found.method, found.guesses) == (method, guesses)


def test_a_tree_is_verified_as_a_whole_and_holds_no_deeper_than_its_steps() -> None:
    command = f"{SGLANG} --speculative-algorithm EAGLE --speculative-num-steps 2 --speculative-eagle-topk 4"
    found = told(f"{command} --speculative-num-draft-tokens 8")
    assert found.verified == 8
    assert found.tokens == int((1 + Fraction(6, 10) + Fraction(36, 100)) * 10**6)


def test_options_of_tensorrt_llm_are_read(tmp_path: Path) -> None:
    text = (
        "```bash\ncat > config.yaml <<EOF\ntensor_parallel_size: 8\nspeculative_config:\n  decoding_type: MTP\n"
        "  num_nextn_predict_layers: 3\nEOF\ntrtllm-serve deepseek-ai/DeepSeek-R1 --config config.yaml\n```\n"
    )
    path = tmp_path / "page.md"
    path.write_text(text)
    found = told(str(path))
    assert (found.method, found.guesses) == ("mtp", 3)


def test_the_launch_says_what_is_guessed_whatever_is_asked() -> None:
    """Without flags nothing is guessed; acceptance is the question's where it guesses as many."""
    asked = question({"method": "mtp", "draft_tokens": 3, "acceptance_length": "2.44"})
    assert told(SGLANG, asked) is None
    assert told(f"{SGLANG} {EAGLE}", asked).tokens == 2_440_000
    assert told(f"{SGLANG} {EAGLE}", question()).tokens == 2_176_000
    assert asked_and_stated(SGLANG, asked, {})[0].speculative is None
    slow, fast = (predict(*asked_and_stated(text, asked, {}))[0].tpot_ms for text in (SGLANG, f"{SGLANG} {EAGLE}"))
    assert fast < slow


def test_modules_that_a_model_lacks_are_contradicted() -> None:
    (audit,) = review("vllm serve Qwen/Qwen3-8B --spec-method mtp --spec-tokens 1").audits
    (claim,) = [claim for claim in audit.claims if claim.statement.field == "speculative_method"]
    assert claim.verdict == "contradicted"
    assert "no multi-token-prediction layers" in claim.formula


def test_methods_that_are_not_modelled_are_said() -> None:
    (audit,) = review(f"{VLLM} --spec-method medusa --spec-tokens 2", question()).audits
    (claim,) = [claim for claim in audit.claims if claim.statement.field == "speculative_method"]
    assert claim.verdict == "not-checkable"
    assert "without it" in claim.formula


def test_guesses_in_pipelines_break_a_rule() -> None:
    (audit,) = review(f"{VLLM} -pp 2 --spec-method mtp --spec-tokens 1", question(engine="vllm")).audits
    (claim,) = [claim for claim in audit.claims if claim.statement.field == "layout_accepted"]
    assert claim.verdict == "contradicted"
    assert any(item.group == "engine:guesses-in-pipelines" for item in audit.violations)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize(
    ("model", "speculative"),
    [
        ("mimo-7b-base", {"method": "mtp", "draft_tokens": 2, "acceptance": "0.8"}),
        ("qwen3-32b", {"method": "draft", "draft_model": "qwen3-0.6b", "draft_tokens": 3, "acceptance": "0.6"}),
        ("qwen3-32b", {"method": "ngram", "draft_tokens": 4, "acceptance": "0.2"}),
    ],
)
def test_a_written_command_reads_back(engine: str, model: str, speculative: Any, tmp_path: Path) -> None:
    """The command of a solved plan is read as the same plan with the same guesses, and the same times."""
    instance = question(speculative, model=model, engine=engine, limits={"max_gpus": 8, "tpot": "60 ms"})
    result = solve(instance)
    assert result.plan is not None
    lines = engine_flags(instance, result.plan)
    text = f"```bash\n{lines[0]}\n```\n"
    if engine == "trtllm":
        options = "\n".join(lines[1:])
        text = f"```bash\ncat > config.yaml <<EOF\n{options}\nEOF\n{lines[0]}\n```\n"
    path = tmp_path / "page.md"
    path.write_text(text)
    asked, plan = asked_and_stated(str(path), instance, {})
    assert asked.speculative is not None
    assert instance.speculative is not None
    assert (asked.speculative.method, asked.speculative.guesses) == (speculative["method"], speculative["draft_tokens"])
    assert asked.speculative.tokens == instance.speculative.tokens
    own, again = predict(instance, result.plan)[0], predict(asked, plan)[0]
    assert again.tpot_ms == pytest.approx(own.tpot_ms)
    assert again.violations == ()
    without, _ = asked_and_stated(str(path), question(None, model=model, engine=engine), {})
    assert without.speculative is not None


def test_a_solved_plan_keeps_what_it_guesses() -> None:
    """Under a question that asks for none, the plan file is predicted as it was solved."""
    instance = question({"method": "mtp", "acceptance": "0.8,0.6,0.5"}, model="mimo-7b-base")
    result = solve(instance)
    assert result.plan is not None
    tree = result.plan.model_dump(mode="json")
    plain = {"model": "mimo-7b-base", "device": "h200-sxm", "limits": {"max_gpus": 16}}
    plain |= {"workload": {"kind": "closed-loop", "concurrency": 8, "input_tokens": 1024, "output_tokens": 1024}}
    asked, plan = asked_and_stated(tree, plain, {})
    assert predict(asked, plan)[0].tpot_ms == predict(instance, result.plan)[0].tpot_ms


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_files_of_every_target_read_back(engine: str, tmp_path: Path) -> None:
    """Whatever runs the plan is told what is guessed, in words that are understood again."""
    from shardproof.solver.exporters.export import EXPORTERS

    told_of = {"method": "mtp", "draft_tokens": 2, "acceptance": "0.8"}
    limits = {"max_gpus": 2}
    solved = shardproof.solve(question_tree(told_of, model="mimo-7b-base", engine=engine, limits=limits))
    written = 0
    for target in EXPORTERS:
        try:
            files = shardproof.export(solved, to=target)
        except InputError:
            continue  # the target starts another engine
        files.write(tmp_path / target)
        found = [audit.context.instance for audit in review(tmp_path / target, solved.instance).audits]
        guessed = [one.speculative for one in found if one is not None]
        assert any(one is not None and (one.method, one.guesses) == ("mtp", 2) for one in guessed), target
        written += 1
    assert written >= 4


def test_a_head_without_a_name_is_not_exported() -> None:
    solved = shardproof.solve(question_tree({"method": "eagle3"}, model="qwen3-8b", engine="vllm"))
    with pytest.raises(InputError, match="name it"):
        shardproof.export(solved, to="vllm")


def test_paths_in_documents_are_not_opened(tmp_path: Path) -> None:
    """A head at a path is taken as heads are; a draft model at a path is said not to be known."""
    (tmp_path / "config.json").write_text("{")
    head = told(f"vllm serve Qwen/Qwen3-8B --spec-method eagle3 --spec-tokens 2 --spec-model {tmp_path}")
    assert head is None or head.draft is not None
    qwen = question(model="qwen3-32b")
    config = f"{tmp_path}/config.json"
    (audit,) = review(f"vllm serve Qwen/Qwen3-32B --spec-method draft_model --spec-model {config}", qwen).audits
    (claim,) = [claim for claim in audit.claims if claim.statement.field == "speculative_method"]
    assert "not opened" in claim.formula


def test_a_head_of_its_own_config_is_read(tmp_path: Path) -> None:
    """One layer, and the vocabulary that it writes: what the question names, its own launch is judged by."""
    config = {
        "architectures": ["LlamaForCausalLMEagle3"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 1,
        "vocab_size": 151936,
        "draft_vocab_size": 32000,
        "max_position_embeddings": 40960,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    }
    path = tmp_path / "head" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(config))
    asked = question({"method": "eagle3", "draft_model": str(path)}, model="qwen3-8b", engine="vllm")
    assert asked.speculative is not None
    assert asked.speculative.draft is not None
    assert asked.speculative.draft.model.vocab == 32000
    result = solve(asked)
    assert result.plan is not None
    again, _ = asked_and_stated(engine_flags(asked, result.plan)[0], asked, {})
    assert again.speculative == asked.speculative
    with pytest.raises(InputError, match="reads the model's states"):
        question({"method": "eagle3", "draft_model": str(path)}, model="qwen3-32b")


@pytest.mark.parametrize(("key", "value", "tokens"), [("acceptance_length", "5/2", 2.5), ("acceptance", "0.5", 1.75)])
def test_a_plan_file_alone_is_judged_with_its_guesses(tmp_path: Path, key: str, value: str, tokens: float) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "replicas: 1\nmicrobatch_tokens: 2048\nstages:\n- layers: [0, 60]\n  gpus: 8\n  attn_tp: 8\n  moe_ep: 8\n"
        f"model: deepseek-r1\ndevice: h200-sxm\nspeculative:\n  method: mtp\n  draft_tokens: 2\n  {key}: {value}\n"
    )
    (audit,) = review(str(plan)).audits
    claims = {claim.statement.field: claim for claim in audit.claims}
    assert claims["speculative_method"].verdict == claims[key].verdict == "confirmed"
    assert f"2 draft tokens, {tokens:g} tokens an iteration" in claims["draft_tokens"].formula


@pytest.mark.parametrize(("key", "value"), [("acceptance_length", "4"), ("acceptance", "2"), ("draft_tokens", "0")])
def test_impossible_counts_of_a_plan_file_are_contradicted(tmp_path: Path, key: str, value: str) -> None:
    plan = tmp_path / "plan.yaml"
    told = {"method": "mtp", "draft_tokens": "2"} | {key: value}
    lines = "\n".join(f"  {name}: {said}" for name, said in told.items())
    plan.write_text(f"model: deepseek-r1\ndevice: h200-sxm\ngpus: 8\ntp: 8\nspeculative:\n{lines}\n")
    (audit,) = review(str(plan)).audits
    assert next(claim for claim in audit.claims if claim.statement.field == key).verdict == "contradicted"
