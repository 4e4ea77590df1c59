"""A mixed fleet is audited group by group, each asked for the requests that it takes."""

from __future__ import annotations

from pathlib import Path

import yaml

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
