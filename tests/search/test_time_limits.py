"""Time limits: what is known when time is up is kept, and what follows the search keeps the limit too."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

import shardproof
from shardproof.formulations.costs.clocks import clock_of
from shardproof.formulations.deployment.build import Deployment
from shardproof.formulations.deployment.volume import least_gpus
from shardproof.instances.clock import check_time, checked_by, measured_by, now
from shardproof.solver.problem import deployment_of
from shardproof.solver.proof.certificate import accepted
from shardproof.solver.search.fleet_search import FleetSearch
from shardproof.solver.search.prover import Prover, TimelyProver
from shardproof.solver.search.query import Interrupted, Query
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import evidence_of, result_of, search, searching

HARD: dict[str, Any] = {"model": "llama-3.1-70b-fp8", "device": "l40s", "isl": 1024, "osl": 512, "efficiency": "flat"}


def asked(**changes: Any) -> Any:
    return shardproof.load_instance(**{**HARD, "batch_size": 60, "ttft": "6s", "engine": "vllm"} | changes)


def interrupt(_: FleetSearch) -> None:
    raise Interrupted


@pytest.mark.parametrize("limit", [None, 100.0])
def test_an_interrupted_search_knows_what_volume_says(monkeypatch: pytest.MonkeyPatch, limit: float | None) -> None:
    monkeypatch.setattr(FleetSearch, "_fewest_gpus", interrupt)
    settings = Settings(time_limit_s=limit)
    found = result_of(search(asked(), settings), settings)
    assert (found.status, found.stop_reason, found.gpus) == ("undecided", "time-limit", None)
    assert found.bound == least_gpus(deployment_of(asked()))
    assert found.bound > 1


@pytest.mark.parametrize("engine", ["any", "vllm"])
@pytest.mark.parametrize(
    "changes",
    [
        {"ttft": "6s"},
        {"ttft": "60s", "batch_size": 7},
        {"ttft": "30s", "tpot": "40ms", "batch_size": 16},
        {"isl": 16384, "osl": 8192, "batch_size": 24, "ttft": "600s"},
        {"concurrency": 40, "batch_size": None, "ttft": None, "tpot": "60ms"},
    ],
)
def test_volume_is_never_above_the_optimum(engine: str, changes: dict[str, Any]) -> None:
    instance = asked(engine=engine, **changes)
    found = search(instance, Settings()).outcome.levels["gpus"]
    assert found.proven
    assert found.value is not None
    assert 1 <= least_gpus(deployment_of(instance)) <= found.value


def test_volume_without_time_says_nothing() -> None:
    assert least_gpus(deployment_of(asked()), now() - 1) == 1


def test_any_engine_keeps_the_least_of_all_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FleetSearch, "_fewest_gpus", interrupt)
    found = shardproof.solve(asked(engine="any"), time_limit=100)
    bounds = [one.bound for one in found.result.engines if one.bound is not None]
    assert found.bound == min(bounds)
    assert found.bound > 1


def test_engines_that_volume_rules_out_leave_the_answer_optimal() -> None:
    # The device holds the model once with 0.1 % to spare: what engines keep for themselves does not fit.
    question = {"model": "qwen3-235b-a22b-fp8", "device": "b300-sxm", "isl": 2048, "osl": 2048, "batch_size": 128}
    found = shardproof.solve(**question, ttft="30s", kv_cache="fp8", max_gpus=64, time_limit=100)
    assert all(one.bound > found.gpus for one in found.result.engines if one.gpus is None and one.bound is not None)
    assert any(one.bound == 2 for one in found.result.engines)
    assert (found.gpus, found.result.status, found.proof) == (1, "optimal", "certified-optimal")
    assert found.result.stop_reason == "proved"


def test_a_check_that_is_not_done_in_time_is_no_certificate() -> None:
    found = search(asked(), Settings())
    assert accepted(evidence_of(found), found.instance, within_s=600) is True
    assert accepted(evidence_of(found), found.instance, within_s=1e-9) is None
    late = result_of(found, Settings(time_limit_s=1), now() - 1)
    assert (late.status, late.proof, late.gpus) == ("optimal", "solver-claimed", found.outcome.levels["gpus"].value)
    assert late.explanation[-1].startswith("further reasons take longer")


def test_the_search_leaves_time_for_what_follows_it() -> None:
    assert searching(Settings()).time_limit_s is None
    assert searching(Settings(time_limit_s=2.0)).time_limit_s == 1.8
    assert searching(Settings(time_limit_s=60.0)).time_limit_s == 59.5


def test_a_limit_counts_on_the_clock_that_is_said() -> None:
    """On a clock on which no time passes a limit of no length ends nothing."""
    with measured_by(lambda: 7.0):
        found = search(asked(batch_size=4), Settings(time_limit_s=0.0))
    assert found.outcome.stop_reason == "proved"


class OverError(Exception):
    """All time is over."""


def over() -> None:
    raise OverError


MIXTURE: dict[str, Any] = {"model": "qwen3-30b-a3b-fp8", "device": "l40s", "engine": "vllm", "load_profile": "zipf:0.9"}


@pytest.mark.parametrize("workload", [{"batch_size": 1000, "ttft": "9 s"}, {"concurrency": 1000, "tpot": "50 ms"}])
def test_tables_are_not_filled_when_time_is_over(workload: dict[str, Any]) -> None:
    instance = shardproof.load_instance(model="qwen3-8b", device="l40s", isl=512, osl=64, engine="vllm", **workload)
    deployment = deployment_of(instance)
    layouts = deployment.program.layouts
    table, last = layouts[0].axes[-1].choices[7].paths[0].table, len(layouts) - 1
    with checked_by(over):
        for late in (lambda: layouts[last], lambda: table.layer[0], lambda: table.last[0]):
            with pytest.raises(OverError):
                late()
    assert len(table.layer[0]) == len(deployment.kind_names)


@pytest.mark.parametrize(("kind", "more"), [(Prover, False), (TimelyProver, True)])
def test_a_timely_prover_asks_while_its_tables_are_filled(kind: type[Prover], *, more: bool) -> None:
    asked_at: list[int] = []
    deployment = Deployment(asked(batch_size=4), clock=clock_of(asked()))  # a clock of its own: no cell is known yet
    for _ in range(2):
        before = len(asked_at)
        kind(deployment.program, floor=False, check_stop=lambda: asked_at.append(0)).decide(Query(4))
    assert (len(asked_at) - before < before) is more


def test_checks_add_up_and_end_with_their_work() -> None:
    asked: list[str] = []
    with checked_by(lambda: asked.append("outer")):
        with checked_by(lambda: asked.append("inner")):
            check_time()
        check_time()
    check_time()
    assert asked == ["outer", "inner", "outer"]


def test_experts_that_are_not_placed_in_time_leave_the_question_undecided() -> None:
    instance = shardproof.load_instance(**MIXTURE, isl=512, osl=64, concurrency=16, tpot="50 ms", max_gpus=2)
    ticks = count()
    with measured_by(lambda: float(next(ticks))):
        found = shardproof.solve(instance, time_limit=3)
    assert (found.status, found.bound, found.result.stop_reason) == ("undecided", 1, "time-limit")
    assert next(ticks) < 20
    assert found.certificate() is None
    assert found.text()
