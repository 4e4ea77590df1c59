"""How far the search for a fleet is: told in the unit of the objective, and a fleet where the time ends early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import shardproof
from shardproof.instances.clock import measured_by, now
from shardproof.instances.errors import InputError
from shardproof.solver.commands.progress import words
from shardproof.solver.open_loop.replica_rates import ReplicaRates
from shardproof.solver.pools.told import Told
from shardproof.solver.search.settings import Progress, watching
from tests.oracles.places import ROOT

OFFERS = [
    {"device": "a100-40-sxm", "price_per_hour": "1.10 USD/h"},
    {"device": "h100-sxm", "price_per_hour": "2.40 USD/h"},
]
CLOSED: dict[str, Any] = {
    "model": "qwen3-8b",
    "engine": "vllm",
    "devices": OFFERS,
    "objective": "price",
    "workload": {"kind": "closed-loop", "concurrency": 60, "input_tokens": 512, "output_tokens": 128},
    "limits": {"ttft": "2 s", "tpot": "40 ms", "max_gpus": 2},
    "max_stage_gpus": 1,
}
OPEN = CLOSED | {
    "workload": {"kind": "requests", "rate": "12/s", "input_tokens": 512, "output_tokens": 64},
    "limits": {"ttft": {"p99": "1 s"}, "max_gpus": 2},
}


def solved(question: dict[str, Any], **options: Any) -> tuple[shardproof.SolvedFleet, list[Progress]]:
    heard: list[Progress] = []
    with watching(heard.append):
        found = shardproof.solve(question, **options)
    assert isinstance(found, shardproof.SolvedFleet)
    return found, heard


@pytest.mark.parametrize("question", [CLOSED, OPEN])
def test_bounds_only_sharpen_and_end_where_the_answer_is(
    question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardproof.solver.pools.told.EVERY_S", 0.0)
    found, heard = solved(question)
    bounds = [one.bound for one in heard if one.bound is not None]
    assert bounds == sorted(bounds)
    assert heard[-1].incumbent == found.result.value
    assert found.result.bound in (None, bounds[-1])
    assert " USD/h  bound " in words(heard[-1])
    assert str(found).startswith("qwen3-8b: ")  # nobody named the question
    assert "stopped" not in str(found)
    assert "  gap " in words(heard[-1])


def test_where_the_time_ends_while_replicas_are_played_those_played_make_a_fleet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = {"workload": OPEN["workload"] | {"rate": "60/s"}, "devices": OFFERS[1:]}
    tight = {"limits": {"ttft": {"p99": "300 ms"}, "tpot": {"p99": "12 ms"}, "max_gpus": 8}}
    played, plays = ReplicaRates.may_keep, [0.0]

    def counted(self: ReplicaRates, *asked: Any) -> bool:
        plays[0] += 1
        return played(self, *asked)

    monkeypatch.setattr(ReplicaRates, "may_keep", counted)
    with measured_by(lambda: plays[0]):
        found, _ = solved(OPEN | busy | tight, time_limit=20)
    assert found.result.stop_reason == "time-limit"
    assert found.status == "feasible"
    assert found.value is not None
    assert found.bound is not None
    assert 0 < found.bound <= found.value


def test_nobody_watching_costs_nothing() -> None:
    told = Told(None, "USD/h", 10**6)
    told.look(lambda: pytest.fail("looked"))
    told.fleet(3_000_000)
    told.at_least(2_000_000)
    assert (told.value, told.bound) == (3_000_000, 2_000_000)
    assert (
        words(Progress(3_000_000, 2_000_000, now(), "fleets", "USD/h", 10**6)) == "fleets: 3 USD/h  bound 2  gap 33.3%"
    )


def test_a_budget_for_a_device_without_a_price_says_where_the_price_is_said() -> None:
    asked: dict[str, Any] = {"model": "qwen3-8b", "isl": 64, "osl": 8, "batch_size": 1, "max_price": "2 USD/h"}
    with pytest.raises(InputError, match=r"--devices 'l40s@0\.80 USD/h'.*hardware\.price_per_hour"):
        shardproof.solve(device="l40s", **asked)


@pytest.mark.parametrize(("verb", "level"), [("explain", "what binds it"), ("sensitivity", "how far prices")])
def test_verbs_on_an_answer_say_what_they_do_after_it(verb: str, level: str) -> None:
    table = Path(ROOT / "instances/cases/pools/melange-default.yaml")
    heard: list[Progress] = []
    with watching(heard.append):
        getattr(shardproof, verb)(table)
    assert words(heard[-1]).startswith(level)
    assert "4.68 USD/h  bound 4.68  gap 0.0%" in words(heard[-1])
