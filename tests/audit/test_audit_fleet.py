"""A mixed fleet is audited group by group, each asked for the requests that it takes."""

from __future__ import annotations

from pathlib import Path

import yaml

from shardproof.instances.engine_choice import under_engine
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.api.audited import audit
from shardproof.solver.solve import solve
from tests.search.test_fleets import question


def test_a_mixed_fleet_is_audited_group_by_group(tmp_path: Path) -> None:
    asked = question(55)
    plan = solve(asked).plan
    assert plan is not None
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    found = audit(path, asked, completion=False)
    assert len(found.audits) == len(plan.groups) == 2
    assert (found.exit_code, found.wrong, found.violations) == (0, (), ())
    more = resolve_tree(
        {
            "model": "mixtral-8x7b",
            "device": "a100-80-sxm",
            "efficiency": "flat",
            "workload": {"kind": "burst", "input_tokens": 2048, "output_tokens": 512, "batch_size": 60},
            "limits": {"ttft": "4 s"},
        },
        where="test",
    )
    short = audit(plan, more, completion=False)
    assert [violation.group for violation in short.violations] == ["load[main]"]


def test_a_mixed_fleet_without_a_question_is_judged_by_what_each_group_says(tmp_path: Path) -> None:
    plan = solve(question(55)).plan
    assert plan is not None
    path = tmp_path / "plan.json"
    path.write_text(plan.model_dump_json(exclude_none=True), encoding="utf-8")
    found = audit(path, completion=False)
    assert len(found.audits) == len(plan.groups)
    assert (found.exit_code, found.wrong) == (0, ())
    broken = plan.model_dump(mode="json", exclude_none=True)
    broken["groups"][1]["stages"][0]["layers"] = [0, 1]
    assert audit(broken, question(55), completion=False).exit_code == 4


def test_a_plan_is_audited_under_the_engine_that_it_names() -> None:
    fields = {"model": "qwen3-8b", "device": "l4", "workload": {"kind": "burst", "batch_size": 4, "input_tokens": 4096}}
    fields["workload"]["output_tokens"] = 64
    asked = resolve_tree(fields | {"efficiency": "flat", "limits": {"ttft": "2 s", "max_gpus": 8}}, where="test")
    plan = solve(under_engine(asked, "vllm")).plan
    assert plan is not None
    assert plan.microbatches[0].prompt_chunks > 1
    found = audit(plan, asked, completion=False)
    assert (found.exit_code, found.wrong, found.violations) == (0, (), ())
    tokens = [claim for one in found.audits for claim in one.claims if claim.statement.field == "microbatch_tokens"]
    assert {claim.verdict for claim in tokens} == {"confirmed"}
