"""Sources: folders, command lines, several plans in one text, what each line was read as, hostile input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from shardproof.instances.errors import InputError
from shardproof.solver.audit.review import review
from shardproof.solver.commands.audit import command
from shardproof.solver.commands.compare import command as compare
from shardproof.solver.commands.predict import command as predict
from shardproof.solver.documents.reader import parse_plans
from tests.oracles.places import SHARED
from tests.oracles.planted_forms import clean_forms

SERVE = "vllm serve Qwen/Qwen3-32B --tensor-parallel-size"
QUESTION = """\
model: qwen3-32b
device: h100-sxm
engine: vllm
workload: {kind: burst, batch_size: 8, input_tokens: 1024, output_tokens: 256}
limits: {max_gpus: 8}
"""


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.yaml"
    path.write_text(QUESTION)
    return path


def test_a_command_line_is_a_plan() -> None:
    assert review(f"{SERVE} 4").exit_code == 0
    found = review(f"{SERVE} 3")
    assert found.exit_code == 4
    assert any("64 heads over 3" in claim.formula for claim in found.claims if claim.wrong)


def test_heads_are_shared_by_the_ranks_of_one_data_parallel_share() -> None:
    line = "python -m sglang.launch_server --model-path microsoft/phi-4 --tp-size 4 --attn-dp-size {}"
    assert review(line.format(2)).exit_code == 0  # 10 KV heads over 2 ranks
    assert any("10 KV heads and 4 ranks" in claim.formula for claim in review(line.format(1)).claims if claim.wrong)


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "good.sh").write_text(f"{SERVE} 4\n")
    (tmp_path / "notes.md").write_text("# Nothing\n\nJust words.\n")
    (tmp_path / "compose.yaml").write_text(
        "services:\n  llm:\n    image: vllm/vllm-openai\n"
        "    command: --model ${MODEL} --tensor-parallel-size ${TP:-2}\n"
    )
    (tmp_path / ".env").write_text("MODEL=Qwen/Qwen3-32B\nTP=3\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "bad.sh").write_text(f"{SERVE} 5\n")
    outcome = CliRunner().invoke(command, [str(tmp_path), "--json"], standalone_mode=False)
    tree = json.loads(outcome.output)
    assert outcome.return_value == 4
    assert {row["file"] for row in tree["claims"]} == {"good.sh", "compose.yaml", ".env"}
    wrong = {row["file"] for row in tree["claims"] if row["verdict"] == "contradicted"}
    assert wrong == {"compose.yaml", ".env"}
    assert [row["file"] for row in tree["skipped"]] == ["notes.md"]


def test_an_option_file_beside_a_script_is_read(tmp_path: Path) -> None:
    (tmp_path / "extra.yml").write_text(
        "tensor_parallel_size: 6\nmax_num_tokens: 8192\nkv_cache_config: {dtype: fp8}\n"
    )
    (tmp_path / "run.sh").write_text("trtllm-serve Qwen/Qwen3-32B --extra_llm_api_options ./extra.yml\n")
    found = review(tmp_path / "run.sh")
    assert [claim.statement.field for claim in found.claims if claim.wrong] == ["tp"]


def test_alternatives_are_plans_of_their_own() -> None:
    page = (
        "# Qwen3-32B\n\n## On one L4\n\nGPUs: 1x L4\n\n```bash\nvllm serve Qwen/Qwen3-32B\n```\n\n## On H100s\n\n"
        "GPUs: 4x H100\n\n```bash\nvllm serve Qwen/Qwen3-32B --tensor-parallel-size 4\n```\n"
    )
    plans = parse_plans(page, name="page.md", suffix=".md")
    assert [plan.number("tp") for plan in plans] == [None, 4]
    assert [str(plan.first("device").value) for plan in plans] == ["1x L4", "4x H100"]  # type: ignore[union-attr]


def test_lines_of_several_nodes_are_one_plan() -> None:
    line = "vllm serve Qwen/Qwen3-32B -tp 8 -pp 2 --nnodes 2 --node-rank {} --master-addr a"
    page = "\n".join(f"```bash\n{line.format(rank)}{' --headless' if rank else ''}\n```\n" for rank in (0, 1))
    assert len(parse_plans(f"# Two nodes\n\n{page}", name="page.md", suffix=".md")) == 1


def test_logs_code_and_choices_are_no_claims() -> None:
    page = (
        f"# Serve\n\n```bash\n{SERVE} 8\n```\n\nYou could also use TP 3 or TP 4.\n\n```\n(Worker_TP0 pid=7) INFO 02-08 "
        "08:39:04 [a.py:1] ready\n```\n\n```python\nx = json.loads(r.choices[0].text)\n```\n\n"
        "(EngineCore_DP0 pid=1) INFO\n"
    )
    (plan,) = parse_plans(page, name="page.md", suffix=".md")
    assert [statement.number for statement in plan.of("tp")] == [8]
    assert not plan.of("dp")
    assert {line.said for line in plan.lines} >= {"log line, no claim about the plan"}


def test_what_each_line_was_read_as_is_shown() -> None:
    outcome = CliRunner().invoke(command, [f"{SERVE} 4", "--json"], standalone_mode=False)
    rows = {row["text"]: row["as"] for row in json.loads(outcome.output)["read"]}
    assert rows["--tensor-parallel-size 4"] == "tp = 4"
    shown = CliRunner().invoke(command, [f"{SERVE} 4"], standalone_mode=False).output
    assert "--tensor-parallel-size 4 -> tp = 4" in shown


def test_predict_audit_and_compare_read_the_same_sources(question: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "deployment.yaml"
    form = next(form for form in clean_forms() if form.name == "deployment-2")
    manifest.write_text(form.text)
    assert form.spec.model == "Qwen/Qwen3-32B"
    for source in (f"{SERVE} 2", str(manifest)):
        answer = CliRunner().invoke(predict, [source, "-i", str(question), "--json"], standalone_mode=False)
        assert json.loads(answer.output)["ttft_s"] > 0, answer.output
        answer = CliRunner().invoke(compare, [source, "--instance", str(question), "--json"], standalone_mode=False)
        (column,) = json.loads(answer.output)["plans"]
        assert column["stages"][0]["attn_tp"] == 2


def test_a_plan_of_another_model_is_refused_in_one_sentence(question: Path) -> None:
    other = "vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size 2"
    outcome = CliRunner().invoke(predict, [other, "-i", str(question)], standalone_mode=False)
    assert isinstance(outcome.exception, InputError)
    assert "its plan is of meta-llama/Llama-3.1-8B-Instruct" in str(outcome.exception)


BOMB = "kind: Deployment\na0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        (BOMB, ".yaml"),
        ("kind: Deployment\na: &a [*a]\n", ".yaml"),
        ("kind: x\n" + "{a: " * 3000, ".yaml"),
        ("kind: Deployment\nspec: {{ .Values.spec }}\n", ".yaml"),
        ("f(" * 5000, ".py"),
        ('{"cells": 4}', ".ipynb"),
        ("kind: ConfigMap\ndata: {a.yaml: '- [*b]'}\n", ".yaml"),
    ],
)
def test_hostile_forms_end_in_one_message(text: str, suffix: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_plans(text, name="x" + suffix, suffix=suffix)
    assert "\n" not in str(refused.value).strip()


def test_a_comment_of_a_script_names_the_device(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(f"# one L4 is not enough\n{SERVE} 1\n")
    assert {claim.statement.field for claim in review(tmp_path / "run.sh").claims if claim.wrong} == {"weights_fit"}


def test_nothing_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = (
        f"vllm serve Qwen/Qwen3-32B --tensor-parallel-size $(touch {mark}; echo 3) --max-model-len `touch {mark}`\n"
    )
    code = (
        f"import os\nfrom vllm import LLM\nLLM('Qwen/Qwen3-32B', tensor_parallel_size=os.system('touch {mark}') + 3)\n"
    )
    for text, suffix in ((script, ".sh"), (code, ".py")):
        (plan,) = parse_plans(text, name="x" + suffix, suffix=suffix)
        assert plan.open
        assert not plan.of("tp")
    assert not os.path.exists(mark)


CASES = {
    "audit_oom_not_seen.md": {"weights_fit"},
    "audit_default_context_not_seen.md": {"context_fits"},
    "audit_docker.md": {"tp"},
    "audit_python.md": {"tp"},
    "audit_compose.yaml": {"tp"},
    "audit_k8s-vllm.yaml": {"tp"},
    "audit_isvc.yaml": {"gpus_requested"},
    "audit_dynamo-sglang.yaml": set(),
    "audit_log_lines_and_code.md": set(),
    "audit_awq_read_as_bf16.md": set(),
    "audit_glm_fp8_read_as_bf16.md": set(),
    "audit_v31_read_as_nvfp4.md": {"weights_fit"},
}


@pytest.mark.skipif(not (SHARED / "public_cases").is_dir(), reason="the public cases are not here")
@pytest.mark.parametrize("name", CASES)
def test_public_cases(name: str) -> None:
    found = review(SHARED / "public_cases" / name)
    assert {claim.statement.field for claim in found.claims if claim.wrong} == CASES[name]
