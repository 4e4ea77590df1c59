"""One figure each: what is said of a closed loop's TTFT, of commands side by side, of a dense feed-forward part."""

from __future__ import annotations

from pathlib import Path

import pytest

import shardproof
from shardproof.instances.units import format_duration
from shardproof.solver.api.solved import _shown
from shardproof.solver.audit.claim import show
from shardproof.solver.writers.terminal import _stage_cells

LOOP = {
    "model": "llama-3.1-8b-instruct",
    "device": "h100-sxm",
    "engine": "vllm",
    "workload": {"kind": "closed-loop", "concurrency": 64, "input_tokens": 2048, "output_tokens": 256},
    "limits": {"ttft": "5 s", "tpot": "50 ms", "max_gpus": 2},
}
PAGE = "# Plan\n\n- Model: Llama-3.1-8B-Instruct\n- Tensor parallel size: {tp}\n- GPUs: {tp}\n- TTFT: {ttft}\n"
COMMAND = "vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size {tp}"


@pytest.mark.parametrize(
    ("ttft", "verdict"), [("9 s", "contradicted"), ("0.1 ms", "contradicted"), (None, "confirmed")]
)
def test_a_ttft_in_a_closed_loop_is_held_against_the_one_that_predict_says(
    tmp_path: Path, ttft: str | None, verdict: str
) -> None:
    known = shardproof.predict(COMMAND.format(tp=1), LOOP).ttft_s
    page = tmp_path / "plan.md"
    page.write_text(PAGE.format(tp=1, ttft=ttft or format_duration(round(known * 1e9))))
    found = shardproof.audit(page, LOOP, completion=False)
    (claim,) = [one for one in found.claims if one.statement.field == "ttft"]
    assert claim.verdict == verdict
    assert float(claim.recomputed) == pytest.approx(known)  # type: ignore[arg-type]
    assert claim.formula.count(" s") + claim.formula.count(" ms") == 1
    assert claim.formula.partition(";")[0].endswith(show(known, "time"))


def test_columns_of_commands_have_names_of_their_own() -> None:
    told = shardproof.compare(COMMAND.format(tp=1), COMMAND.format(tp=2), instance=LOOP)
    assert [column.name for column in told.comparison.plans] == ["command 1", "command 2"]
    assert [name for name, _ in told.comparison.savings] == ["command 1", "command 2"]
    assert not any("expert" in sentence for _, sentences in told.comparison.savings for sentence in sentences)


def test_columns_of_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder, tp in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.sh").write_text(COMMAND.format(tp=tp) + "\n")
    told = shardproof.compare(tmp_path / "a" / "run.sh", tmp_path / "b" / "run.sh", instance=LOOP)
    assert [column.name for column in told.comparison.plans] == ["a/run.sh", "b/run.sh"]


def test_a_dense_feed_forward_part_is_cut_as_attention_is() -> None:
    narrow = shardproof.predict(COMMAND.format(tp=1), LOOP).plan.stages[0]
    wide = {"attn_tp": 1, "attn_dp": 2, "moe_tp": 2, "gpus": 2}
    stage = narrow.model_copy(update=wide)
    assert _stage_cells(stage, mixed=False)[3] == "TP1 x DP2"
    assert _stage_cells(stage, mixed=True)[3] == "TP2 x EP1"
    row = {"replicas": 1, "stage": 0, "first_layer": 0, "last_layer": 31, "moe_ep": 1, "memory_bytes": 1, "time_ns": 1}
    assert _shown(row | wide, routed=False)["dense FFN"] == "TP1 x DP2"
    assert _shown(row | wide, routed=True)["experts"] == "TP2 x EP1"


def test_a_burst_names_both_of_its_times_and_its_own_plan_contradicts_nothing(tmp_path: Path) -> None:
    burst = LOOP | {"workload": {"kind": "burst", "batch_size": 64, "input_tokens": 2048, "output_tokens": 256}}
    known = shardproof.predict(COMMAND.format(tp=2), burst).ttft_s
    page = tmp_path / "plan.md"
    page.write_text(PAGE.format(tp=2, ttft=f"{known * 1.06:.4g} s"))  # under the flat rate, over what the plan takes
    (claim,) = [one for one in shardproof.audit(page, burst, completion=False).claims if one.statement.field == "ttft"]
    assert claim.verdict != "contradicted"
    assert claim.formula.startswith("linear layers at a flat rate, ")
    assert f"; the whole plan, all costs, {show(known, 'time')};" in claim.formula
