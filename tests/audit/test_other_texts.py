"""Dockerfiles and reStructuredText are read; what stands elsewhere is said; copies share a question's load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import shardproof
from shardproof.solver.audit.review import review
from shardproof.solver.audit.verdict import verdict_of
from shardproof.solver.commands.audit import command
from shardproof.solver.documents.dockerfile import is_dockerfile
from shardproof.solver.documents.reader import parse_plans
from shardproof.solver.documents.restructured import to_markdown

IMAGES = {
    "exec": """\
FROM vllm/vllm-openai:v0.33.0
ENTRYPOINT ["vllm", "serve"]
CMD ["Qwen/Qwen3-32B", "--tensor-parallel-size", "{tp}"]
""",
    "shell": """\
FROM nvidia/cuda:13.0
ARG SIZE={tp}
ENV TP=$SIZE \\
    # why
    HF_HOME=/models
CMD vllm serve Qwen/Qwen3-32B \\
  # ranks
  --tensor-parallel-size ${{TP}}
""",
    "flags": """\
FROM vllm/vllm-openai:latest
CMD ["--model", "Qwen/Qwen3-32B", \\
     "--tensor-parallel-size", "{tp}"]
""",
    "script": """\
FROM lmsysorg/sglang
ENV TP {tp}
CMD ["bash", "-c", "python -m sglang.launch_server --model-path Qwen/Qwen3-32B --tp $TP"]
""",
    "stages": """\
FROM python:3.12 AS base
ENTRYPOINT ["vllm", "serve"]
FROM base AS run
CMD ["Qwen/Qwen3-32B", "--tensor-parallel-size={tp}"]
""",
    "trtllm": """\
from nvcr.io/nvidia/tensorrt-llm/release:1.1.0
entrypoint trtllm-serve Qwen/Qwen3-32B --tp_size {tp}
""",
}


@pytest.mark.parametrize("text", IMAGES.values(), ids=IMAGES)
def test_a_dockerfile_is_a_plan(text: str, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile.gpu"
    path.write_text(text.format(tp=4))
    (audit,) = review(path).audits
    assert (audit.document.number("tp"), audit.document.form) == (4, "Dockerfile")
    assert audit.exit_code == 0
    path.write_text(text.format(tp=3))
    assert any("64 heads over 3" in claim.formula for claim in review(tmp_path).claims if claim.wrong)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("Dockerfile", True),
        ("Containerfile", True),
        ("Dockerfile.rocm", True),
        ("gpu.dockerfile", True),
        ("docker.md", False),
    ],
)
def test_dockerfiles_are_known_by_name(name: str, is_one: bool) -> None:
    assert is_dockerfile(name) is is_one


def test_a_dockerfile_that_starts_no_engine_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:3.12\nRUN pip install vllm\nCMD python app.py\n")
    (tmp_path / "a.sh").write_text("vllm serve Qwen/Qwen3-32B --tensor-parallel-size 4\n")
    found = review(tmp_path)
    assert [item.text for item in found.source.skipped] == ["Dockerfile"]


PAGE = """\
Serving Qwen3
=============

On four H100
------------

Hardware: 4x H100

.. code-block:: bash
   :linenos:

   vllm serve Qwen/Qwen3-32B \\
     --tensor-parallel-size {tp}

Or with SGLang::

  python -m sglang.launch_server --model-path Qwen/Qwen3-32B --tp 4

.. note:: TP 3 is no option.
"""


def test_restructured_text_is_a_page() -> None:
    first, second = parse_plans(PAGE.format(tp=4), name="page.rst", suffix=".rst")
    assert [(plan.engine, plan.number("tp")) for plan in (first, second)] == [("vllm", 4), ("sglang", 4)]
    assert first.start is not None
    assert first.start[0] == 12
    assert to_markdown(PAGE).count("\n") == PAGE.count("\n")


def test_a_mistake_in_restructured_text_is_found(tmp_path: Path) -> None:
    path = tmp_path / "page.rst"
    path.write_text(PAGE.format(tp=3))
    assert [claim.statement.line for claim in review(path).claims if claim.wrong][:1] == [13]


@pytest.mark.parametrize(
    "text", ["::", "a::\n", ".. code-block:: bash", ".. code::\n\n\n", "x\n=", "====\n====", "  a::\n b\n", "a::\n b"]
)
def test_cut_off_restructured_text_keeps_its_lines(text: str) -> None:
    assert to_markdown(text).count("\n") in (text.count("\n"), text.count("\n") + 1)


QUESTION = {
    "model": "llama-3.1-70b-instruct",
    "device": "h100-sxm",
    "engine": "trtllm",
    "workload": {"kind": "closed-loop", "concurrency": 64, "input_tokens": 1000, "output_tokens": 200},
    "limits": {"max_gpus": 16},
}


def test_a_file_of_options_that_is_not_here_is_said_and_nothing_is_taken_for_it(tmp_path: Path) -> None:
    line = "trtllm-serve meta-llama/Llama-3.1-70B-Instruct --config extra.yaml"
    script = tmp_path / "run.sh"
    script.write_text(line + "\n")
    for instance in (None, QUESTION):
        found = shardproof.audit(script, instance, completion=False)
        assert found.exit_code == 0
        assert found.plan is None
        assert found.to_dict()["outcome"] == "undecided"
        assert "extra.yaml is not here" in found.to_dict()["verdict"]
    (tmp_path / "extra.yaml").write_text("tensor_parallel_size: 4\nmax_batch_size: 64\n")
    found = shardproof.audit(script, QUESTION, completion=False)
    assert found.plan is not None
    assert found.plan.stages[0].option.attn_tp == 4
    assert found.to_dict()["outcome"] == "nothing wrong"


LOOP = {
    "model": "qwen3-32b",
    "device": "h100-sxm",
    "engine": "vllm",
    "workload": {"kind": "closed-loop", "concurrency": 256, "input_tokens": 2000, "output_tokens": 500},
    "limits": {"tpot": "40 ms", "max_gpus": 16},
}


def test_one_command_is_one_of_the_replicas_that_take_the_load() -> None:
    line = "vllm serve Qwen/Qwen3-32B --tensor-parallel-size 4"
    found = shardproof.audit(line, LOOP, completion=False)
    assert (found.exit_code, found.plan.replicas) == (0, 2)
    said = found.to_dict()["copies"]
    stated, _, alone = said.partition("; one alone breaks ")
    assert stated == "one replica of 4 GPUs is stated; 2 of them take the question's load, 128 requests each"
    assert "against" in alone
    assert said.split(";")[0] in found.text()
    few = LOOP | {"limits": {"tpot": "40 ms", "max_gpus": 4}}
    assert shardproof.audit(line, few, completion=False).exit_code == 4  # no second one within the budget
    stated = f"docker run -d --gpus all vllm/vllm-openai --model Qwen/Qwen3-32B --tensor-parallel-size {4}"
    assert shardproof.audit(stated, LOOP, completion=False).plan.replicas == 2


@pytest.mark.slow  # a question is solved under every engine
def test_stated_replicas_are_taken_as_they_are(tmp_path: Path) -> None:
    answer = shardproof.solve(LOOP)
    shardproof.export(answer, to="kubernetes").write(tmp_path)
    (manifest,) = tmp_path.glob("*.yaml")
    found = shardproof.audit(manifest, LOOP, completion=False)
    assert found.to_dict()["copies"] is None
    assert found.plan.gpus == answer.plan.gpus


@pytest.mark.parametrize(
    ("source", "begins"),
    [
        ("vllm serve Qwen/Qwen3-32B --tensor-parallel-size 4", "NOTHING WRONG: "),
        ("vllm serve Qwen/Qwen3-32B --tensor-parallel-size 3", "WRONG: line 1: 64 heads over 3 ranks"),
        ("trtllm-serve Qwen/Qwen3-32B --config here.yaml", "UNDECIDED: here.yaml is not here"),
        ("vllm serve Qwen/Qwen3-32B -tp $N", "UNDECIDED: degrees are set by variables"),
    ],
)
def test_the_verdict_is_the_first_line(source: str, begins: str) -> None:
    shown = CliRunner().invoke(command, [source, "--no-completion"], standalone_mode=False).output
    assert shown.startswith(begins)
    tree = json.loads(CliRunner().invoke(command, [source, "--json", "--no-completion"], standalone_mode=False).output)
    assert tree["verdict"].startswith(begins)


def test_the_verdict_of_several_plans_is_the_worst(tmp_path: Path) -> None:
    for name, tp in (("a", 4), ("b", 3), ("c", 2)):
        (tmp_path / f"{name}.sh").write_text(f"vllm serve Qwen/Qwen3-32B --tensor-parallel-size {tp}\n")
    found = review(tmp_path)
    assert found.to_json()["verdict"].endswith("(1 of 3 plans)")
    assert [verdict_of(audit).partition(":")[0] for audit in found.audits] == [
        "NOTHING WRONG",
        "WRONG",
        "NOTHING WRONG",
    ]


POOLS = """\
model: {path: qwen3-32b, precision: bf16}
resources: {gpu_type: h100, prefill_nodes: 1}
backend:
  sglang_config:
    prefill:
      served-model-name: Qwen/Qwen3-32B
      model-path: /model/
      tp-size: %s
      disaggregation-mode: prefill
    decode:
      served-model-name: Qwen/Qwen3-32B
      model-path: /model/
      tp-size: 8
      dp-size: 8
      enable-dp-attention: true
"""


def test_engine_options_by_pool_are_plans_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(POOLS % 4)
    found = review(path)
    assert [(audit.document.engine, audit.document.number("tp")) for audit in found.audits] == [
        ("sglang", 4),
        ("sglang", 8),
    ]
    assert {audit.context.facts.model.name for audit in found.audits} == {"qwen3-32b"}
    assert found.exit_code == 0
    path.write_text(POOLS % 3)
    assert [claim.statement.line for claim in review(path).claims if claim.wrong][:1] == [8]


def test_pools_of_tensorrt_llm_and_vllm_are_read() -> None:
    text = (
        "backend: pytorch\nmodel: Qwen/Qwen3-32B\ncontext_servers:\n  tensor_parallel_size: 2\n"
        "  kv_cache_config: {free_gpu_memory_fraction: 0.8}\ngeneration_servers:\n  tensor_parallel_size: 4\n"
        "  max_num_tokens: 512\n"
    )
    plans = parse_plans(text, name="disagg.yaml", suffix=".yaml")
    assert [(plan.engine, plan.number("tp")) for plan in plans] == [("trtllm", 2), ("trtllm", 4)]
    text = "engine: vllm\nmodel: Qwen/Qwen3-32B\naggregated:\n  tensor-parallel-size: 2\n"
    (plan,) = parse_plans(text, name="agg.yaml", suffix=".yaml")
    assert (plan.engine, plan.number("tp"), plan.open) == ("vllm", 2, True)


def test_what_is_called_prefill_and_holds_no_engine_options_is_no_pool() -> None:
    text = "tp: 4\nprofiling:\n  prefill:\n    start_step: 0\nmodel: Qwen/Qwen3-32B\n"
    (plan,) = parse_plans(text, name="plan.yaml", suffix=".yaml")
    assert plan.start is None
    assert plan.number("tp") == 4


def test_a_list_of_what_a_degree_may_be_states_none() -> None:
    page = "# Qwen3-32B\n\n{}\n"
    items = "- 8 GPUs simulate **EP 8**\n- 16 GPUs simulate **EP 16**\n- 32 GPUs simulate **EP 32**\n"
    (plan,) = parse_plans(page.format(items + "\nTP: 4\n"), name="page.md", suffix=".md")
    assert not plan.of("ep")
    assert plan.number("tp") == 4
    assert any("one of several" in item.reason for item in plan.unread)
    twice = "- attention runs at TP 4\n- experts run at TP 8\n"
    (plan,) = parse_plans(page.format(twice), name="page.md", suffix=".md")
    assert len(plan.of("tp")) == 2


def test_placeholders_are_no_redirections() -> None:
    line = "trtllm-serve Qwen/Qwen3-32B --max_batch_size <max_batch_size> --tp_size <tp> --free_gpu_memory_fraction 0.9"
    (plan,) = parse_plans(line, name="run.sh", suffix=".sh")
    assert plan.number("max_sequences", "tp") is None
    assert float(plan.number("memory_fraction")) == 0.9
    assert plan.open
    for redirected in ("< in.txt > out.txt", "<in.txt >out.txt", "> log 2>&1", "<<< text"):
        (plan,) = parse_plans(f"vllm serve Qwen/Qwen3-32B -tp 4 {redirected}", name="run.sh", suffix=".sh")
        assert plan.number("tp") == 4


def test_ram_of_a_host_is_no_memory_of_a_device() -> None:
    page = "# Qwen3-32B\n\n## Hardware\n\n* GPUs: 8 x H100\n* {}\n\nTP: 4\n"
    for line, stated in (("RAM: 2.0 TiB", False), ("GPU RAM: 80 GB", True), ("GPU memory: 80 GB", True)):
        (plan,) = parse_plans(page.format(line), name="page.md", suffix=".md")
        assert bool(plan.of("gpu_memory")) is stated, line


def test_replicas_of_a_router_are_not_the_models(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("model: Qwen/Qwen3-32B\ntp: 4\nrouter:\n  replicas: 2\nserver:\n  replicas: 3\n")
    (audit,) = review(path).audits
    assert [statement.number for statement in audit.document.of("replicas")] == [3]
    assert audit.exit_code == 0


@pytest.mark.parametrize("said", ["for small models (less than 7B parameters)", "suits models with 70B parameters"])
def test_parameters_of_models_in_general_are_not_the_models(said: str) -> None:
    (plan,) = parse_plans(
        f"# Qwen3-32B\n\nThis {said}.\n\n- **Single-node**: Simple, {said}\n\nTP: 4\n", name="page.md", suffix=".md"
    )
    assert not plan.of("parameters")


def test_a_pool_that_is_scaled_to_zero_is_no_plan() -> None:
    text = "model: Qwen/Qwen3-32B\ntp: 4\nspare:\n  replicas: 0\n"
    (plan,) = parse_plans(text, name="plan.yaml", suffix=".yaml")
    assert not plan.of("replicas")
