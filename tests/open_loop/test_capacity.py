"""The largest rate of a replica: what was played lies below the bound; runs that are cut short change nothing."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest

from shardproof.instances.errors import InputError
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.open_loop.capacity import at_rate, sustained_rate
from shardproof.solver.open_loop.judge import Judged, judged
from shardproof.solver.open_loop.shapes import Shape, shapes_of
from shardproof.solver.simulation.outcome import interval, least_high
from shardproof.solver.simulation.simulate import Service, SimulationSettings

QUESTION: dict[str, Any] = {
    "model": "llama-3.2-1b-instruct",
    "device": "l4",
    "engine": "vllm",
    "workload": {"kind": "requests", "rate": "8/s", "input_tokens": 800, "output_tokens": 60},
    "limits": {"ttft": {"p99": "1 s"}, "tpot": {"p99": "30 ms"}, "max_gpus": 6},
}


def test_a_replica_keeps_what_is_stated_and_not_much_more() -> None:
    instance = resolve_tree(QUESTION, where="case")
    shape = next(iter(shapes_of(Service(instance).deployment)))
    found = sustained_rate(instance, shape.option)
    assert 0 < found.played <= found.bound
    assert found.played > found.bound / 3
    for factor, kept in ((Fraction(1), True), (Fraction(11, 10), False)):
        asked = at_rate(instance, found.played * factor)
        service = Service(asked, SimulationSettings(seeds=5))
        assert judged(asked, Shape(shape.option, 1).plan(service.deployment, 1), service).keeps_all is kept


def test_a_limit_that_nothing_keeps_leaves_no_rate() -> None:
    instance = resolve_tree(QUESTION | {"limits": {"ttft": {"p99": "1 ms"}, "max_gpus": 6}}, where="case")
    option = next(iter(shapes_of(Service(instance).deployment))).option
    assert sustained_rate(instance, option).bound == 0


def test_several_scenarios_have_no_one_rate() -> None:
    burst = {"kind": "burst", "batch_size": 8, "input_tokens": 100, "output_tokens": 10}
    both = [
        {"name": "a", "workload": QUESTION["workload"], "limits": QUESTION["limits"] | {"max_gpus": None}},
        {"name": "b", "workload": burst, "limits": {"ttft": "2 s"}},
    ]
    both[0]["limits"] = {"ttft": {"p99": "1 s"}}
    tree = {key: QUESTION[key] for key in ("model", "device", "engine")} | {"scenarios": both}
    instance = resolve_tree(tree, where="case")
    option = next(iter(shapes_of(Service(instance).deployment))).option
    with pytest.raises(InputError, match="one scenario"):
        sustained_rate(instance, option)


def test_no_further_run_brings_the_interval_below_what_is_said() -> None:
    chance = random.Random(3)
    for _ in range(400):
        known = [chance.uniform(0, 10) for _ in range(chance.randrange(1, 5))]
        least = least_high(known, 5)
        spread = chance.choice((0.1, 1, 10))
        for _ in range(30):
            middle = chance.uniform(0, 10)
            others = [max(0.0, middle + chance.uniform(-spread, spread)) for _ in range(5 - len(known))]
            assert interval([*known, *others]).high >= least - 1e-9


def test_two_runs_beyond_a_limit_are_beyond_help() -> None:
    assert least_high([3.0, 3.0], 5) == pytest.approx(3.0)
    assert least_high([3.0], 5) < 3.0
    assert least_high([1.0, 2.0, 3.0, 4.0, 5.0], 5) == interval([1.0, 2.0, 3.0, 4.0, 5.0]).high


def test_runs_that_leave_a_limit_open_are_doubled() -> None:
    instance = resolve_tree(QUESTION, where="case")
    option = next(iter(shapes_of(Service(instance).deployment))).option
    settings = SimulationSettings(seeds=5, requests=300)

    def shown(limit: float) -> Judged:
        """Hold one replica against a limit on the p99 of TTFT, ns."""
        (scenario,) = instance.scenarios
        percentiles = tuple(
            item.model_copy(update={"limit": round(limit)}) if item.figure == "ttft" else item
            for item in scenario.limits.percentiles
        )
        limits = scenario.limits.model_copy(update={"percentiles": percentiles})
        asked = instance.model_copy(update={"scenarios": (scenario.model_copy(update={"limits": limits}),)})
        service = Service(asked, settings)
        return judged(asked, Shape(option, 2).plan(service.deployment, 2), service)

    (found,) = (one.found for one in shown(1e12).verdicts if one.limit_name == "ttft p99")
    assert len(shown(1e12).outcomes[0].runs) == len(shown(1.0).outcomes[0].runs) == 5
    assert len(shown(found.low).outcomes[0].runs) == 5
    between = shown((found.value + found.high) / 2)
    assert len(between.outcomes[0].runs) > 5
    assert not between.is_open or len(between.outcomes[0].runs) == 20
