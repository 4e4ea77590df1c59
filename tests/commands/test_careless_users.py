"""What careless and hostile users do to questions, and what they are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import shardproof
from shardproof.instances.errors import InputError
from shardproof.solver.audit.audit import audit_document
from shardproof.solver.documents.reader import read_document

BURST = ["--model", "qwen3-8b", "--device", "h100-sxm", "--isl", "1024", "--osl", "256", "--batch-size", "20"]
OPEN = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "engine": "vllm",
    "workload": {"kind": "requests", "rate": "5/s", "input_tokens": 1024, "output_tokens": 256},
    "limits": {"ttft": "2 s"},
}


@pytest.mark.parametrize("workload", [None, [], [[]], "many", 3, True])
def test_a_workload_that_is_no_mapping_is_refused(workload: object) -> None:
    with pytest.raises(InputError, match="workload"):
        shardproof.solve(OPEN | {"workload": workload})


def test_a_target_that_cannot_express_the_plan_takes_no_answer_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from shardproof.solver.cli import main

    proof, folder = tmp_path / "proof.json", tmp_path / "files"
    asked = [*BURST, "--engine", "vllm", "--json", "--certificate", str(proof), "--export", f"sglang={folder}"]
    with pytest.raises(SystemExit) as left:
        main(["solve", *asked])
    said = capsys.readouterr()
    assert left.value.code == 2
    assert json.loads(said.out)["gpus"] == 1
    assert json.loads(proof.read_text())
    assert "or solve with --engine sglang" in said.err
    assert not folder.exists()


def test_a_question_of_pools_names_the_verbs_that_answer_it() -> None:
    pools = {name: value for name, value in OPEN.items() if name != "device"} | {"devices": [{"device": "h100-sxm"}]}
    with pytest.raises(InputError, match=r"devices: .*batch answer that; compare, .* take plans of fleets"):
        shardproof.audit({"stages": []}, instance=pools)


def test_the_plan_of_an_open_loop_is_not_inconsistent_with_itself(tmp_path: Path) -> None:
    """An engine fills its iterations with whatever has come: their tokens are no number of prompts."""
    from shardproof.instances.resolve import resolve_tree
    from shardproof.solver.api.solved import solve

    answer = solve(OPEN)
    assert answer.plan is not None
    assert answer.plan.microbatch_tokens > 1024
    page = tmp_path / "plan.json"
    page.write_text(json.dumps(answer.plan.model_dump(mode="json", exclude_none=True), indent=2))
    found = audit_document(read_document(page), resolve_tree(OPEN, where="case"))
    assert [claim.formula for claim in found.claims if claim.verdict in ("contradicted", "inconsistent")] == []


@pytest.mark.parametrize("workload", [{"batch_size": 20}, {"concurrency": 20, "tpot": "40ms"}])
def test_every_verb_takes_the_plan_that_serving_any_gave(workload: dict[str, object]) -> None:
    answer = shardproof.solve(
        model="qwen3-8b", device="h100-sxm", engine="vllm", isl=1024, osl=256, ttft="2s", serving="any", **workload
    )
    assert answer.plan is not None
    assert not answer.plan.is_apart
    predicted = shardproof.predict(answer.plan, answer.instance)
    assert predicted.exit_code == 0
    assert predicted.predictions[0].ttft_s == pytest.approx(answer.metrics.ttft_s)
    assert shardproof.audit(answer.plan, answer.instance).exit_code == 0


@pytest.mark.parametrize(("serving", "said"), [("together", True), ("apart", False), ("any", False)])
def test_a_link_between_pools_that_nothing_uses_is_said(serving: str, *, said: bool) -> None:
    asked = shardproof.load_instance(
        model="qwen3-8b", device="h100-sxm", isl=9, osl=9, batch_size=2, serving=serving, transfer_setup="1ms"
    )
    assert any("transfer: without effect" in text for text in asked.assumptions) == said


@pytest.mark.parametrize("asked", [["--device", "h100-sxm,l40s"], ["--device", "h100-sxm", "--device", "l40s"]])
def test_several_devices_after_the_flag_of_one_are_told_where_they_go(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from shardproof.solver.cli import main

    with pytest.raises(SystemExit) as left:
        main(["solve", "--model", "qwen3-8b", "--isl", "64", "--osl", "8", "--batch-size", "2", *asked])
    assert left.value.code == 2
    assert "--devices A,B" in " ".join(capsys.readouterr().err.split())


def test_the_first_token_of_a_closed_loop_is_called_what_it_is() -> None:
    loop = shardproof.solve(model="qwen3-8b", device="h100-sxm", engine="vllm", isl=64, osl=8, concurrency=2)
    burst = shardproof.solve(model="qwen3-8b", device="h100-sxm", engine="vllm", isl=64, osl=8, batch_size=2)
    assert "TTFT (mean in service)" in loop._repr_html_()
    assert "slowest request" not in loop._repr_html_()
    assert "TTFT (slowest request)" in burst._repr_html_()


@pytest.mark.parametrize("asked", [["compare", "", "-i", "x"], ["audit", "x", "-i", ""], ["batch", "x", "-o", ""]])
def test_a_variable_that_is_unset_does_not_mean_the_current_folder(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from shardproof.solver.cli import main

    with pytest.raises(SystemExit) as left:
        main(asked)
    assert left.value.code == 2
    assert "a name is empty; is a variable unset?" in capsys.readouterr().err


def test_where_no_plan_is_found_it_is_said_that_none_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from shardproof.solver.cli import main

    with pytest.raises(SystemExit) as left:
        main(["solve", *BURST, "--ttft", "1us", "--max-gpus", "2", "-o", str(tmp_path / "plan.yaml")])
    assert left.value.code == 1
    assert "nothing is written to" in capsys.readouterr().err
    assert not (tmp_path / "plan.yaml").exists()
