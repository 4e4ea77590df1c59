"""Round trip: what `solve` found, exported to every target that can express it, is accepted and audited as sound."""

from __future__ import annotations

from pathlib import Path

import pytest

import shardproof
from shardproof.instances.errors import InputError
from shardproof.solver.exporters.export import EXPORTERS
from tests.oracles.consumers import refusals
from tests.oracles.solved_plans import QUESTIONS, SHARE


@pytest.mark.slow  # twenty of the hundred questions are solved and audited in eleven forms each, 40 s on two cores
@pytest.mark.parametrize("name", SHARE)
def test_audit_confirms_what_was_solved(name: str, tmp_path: Path) -> None:
    answer = shardproof.solve(**QUESTIONS[name])
    assert answer.plan is not None
    written, refused = 0, list[str]()
    for target in EXPORTERS:
        try:
            made = shardproof.export(answer, to=target)
        except InputError as refusal:
            refused.append(str(refusal))
            continue
        assert refusals(made.files) == []
        made.write(tmp_path / target)
        found = shardproof.audit(tmp_path / target, completion=False)
        assert [(target, claim.statement) for claim in found.wrong] == []
        assert found.exit_code == 0
        written += 1
    assert all("cannot express it: " in said for said in refused)
    assert written >= 3


def test_a_hundred_questions_are_asked() -> None:
    assert len(QUESTIONS) >= 100
    assert 15 <= len(SHARE) <= 25
