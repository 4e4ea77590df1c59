"""Published deployments start by our account and rules, and no answer needs more GPUs or is refused by its engine."""

from __future__ import annotations

import pytest

from shardproof.solver.evaluation.engine_plan import EnginePlan
from shardproof.solver.evaluation.evaluate import evaluate
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import solve
from tests.oracles.published_deployments import Deployment, deployments

ALL = deployments()


def test_there_are_enough() -> None:
    assert len(ALL) >= 70
    assert all(deployment.facts["source"] for deployment in ALL)


@pytest.mark.parametrize("deployment", ALL, ids=lambda item: f"{item.engine}: {item.name}")
def test_what_was_published_as_working_starts(deployment: Deployment) -> None:
    instance, plan = deployment.instance(told=True), deployment.plan()
    assert evaluate(instance, plan).violations == ()
    assert EnginePlan(instance, plan).binding.refusal is None


@pytest.mark.parametrize("deployment", ALL, ids=lambda item: f"{item.engine}: {item.name}")
def test_no_answer_needs_more_or_is_refused(deployment: Deployment) -> None:
    instance = deployment.instance(told=False)
    result = solve(instance, settings=Settings(time_limit_s=20, explain=False))
    assert result.status == "optimal"
    assert result.plan is not None
    assert result.plan.gpus <= deployment.gpus
    assert EnginePlan(instance, result.plan).binding.refusal is None
