"""A folder that `export` writes audits clean under its question; a command's own limits bind its completion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import shardproof

LOOP: dict[str, Any] = {
    "model": "llama-3.1-8b-instruct",
    "device": "h100-sxm",
    "engine": "vllm",
    "workload": {"kind": "closed-loop", "concurrency": 64, "input_tokens": 1000, "output_tokens": 100},
    "limits": {"ttft": "5 s", "tpot": "50 ms", "max_gpus": 8},
}
COMMAND = "vllm serve meta-llama/Llama-3.1-8B-Instruct --tensor-parallel-size {tp}"


def group(replicas: int, requests: int, tp: int, dp: int) -> dict[str, Any]:
    degrees = {"gpus": tp * dp, "attn_tp": tp, "attn_dp": dp, "moe_tp": tp * dp, "moe_ep": 1}
    return {
        "replicas": replicas,
        "shares": [{"scenario": "main", "requests": requests}],
        "microbatch_tokens": 8192 * dp,
        "stages": [{"layers": [0, 31], **degrees}],
    }


def exported(tmp_path: Path, *groups: dict[str, Any]) -> Path:
    copies = sum(one["replicas"] for one in groups)
    alone = {name: value for name, value in groups[0].items() if name != "shares"}
    fleet = {"replicas": copies, "microbatch_tokens": 8192, "stages": [], "groups": list(groups)}
    shardproof.export(alone if len(groups) == 1 else fleet, LOOP, to="vllm").write(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "groups",
    [(group(1, 64, 2, 1),), (group(2, 32, 1, 2),), (group(1, 16, 1, 1), group(1, 48, 2, 1))],
    ids=["one replica", "replicas of two ranks", "groups that are not alike"],
)
def test_an_export_audits_clean(tmp_path: Path, groups: tuple[dict[str, Any], ...]) -> None:
    folder = exported(tmp_path, *groups)
    found = shardproof.audit(folder, LOOP, completion=False)
    assert [audit.violations for audit in found.audits if audit.violations] == []
    assert found.wrong == ()
    assert found.exit_code == 0
    assert "README.md" in {item.text for item in found.review.source.skipped}
    assert shardproof.audit(folder, completion=False).exit_code == 0


def test_what_a_launch_lets_run_at_once_binds_its_completion() -> None:
    found = shardproof.audit(f"{COMMAND.format(tp=2)} --max-num-seqs 32", LOOP)
    assert found.plan is not None
    assert (found.plan.gpus, found.plan.replicas) == (4, 2)
    assert "one alone breaks running[max_num_seqs]" in str(found.to_dict()["copies"])
    assert found.audit.completion is not None
    stated = found.audit.completion.stated
    assert stated.gpus == 4
    assert "2 replicas of 1 stage" in stated.sentence


def test_the_plan_of_a_whole_fleet_beside_its_launches_audits_clean(tmp_path: Path) -> None:
    folder = exported(tmp_path, group(1, 16, 1, 1), group(1, 48, 2, 1))
    for part in folder.glob("*.plan.json"):
        part.unlink()
    fleet = {"replicas": 2, "microbatch_tokens": 8192, "groups": [group(1, 16, 1, 1), group(1, 48, 2, 1)]}
    (folder / "plan.yaml").write_text(yaml.safe_dump(fleet), encoding="utf-8")
    found = shardproof.audit(folder, LOOP, completion=False)
    assert [audit.document.name for audit in found.audits if "plan.yaml" in audit.document.name] == [
        "plan.yaml, group 0",
        "plan.yaml, group 1",
    ]
    assert [audit.violations for audit in found.audits if audit.violations] == []
    assert found.exit_code == 0


def test_a_launch_of_a_group_is_asked_for_that_groups_share(tmp_path: Path) -> None:
    folder = exported(tmp_path, group(1, 16, 1, 1), group(1, 48, 2, 1))
    found = shardproof.audit(folder, LOOP, completion=False)
    launches = [audit for audit in found.audits if audit.document.start is not None]
    asked = [audit.context.instance.scenarios[0].workload.requests for audit in launches if audit.context.instance]
    assert sorted(asked) == [16, 48]


def test_a_launch_of_fewer_tokens_than_a_prompt_computes_it_in_parts() -> None:
    burst = LOOP | {"workload": {"kind": "burst", "batch_size": 8, "input_tokens": 2048, "output_tokens": 64}}
    found = shardproof.audit(f"{COMMAND.format(tp=2)} --max-num-batched-tokens 512", burst, completion=False)
    best = found.audit.context.best
    assert best is not None
    assert best.plan.microbatches[0].prompt_chunks == 4
