"""Who carries more carries less: stated by `verify`, and checked on an instance's own tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

import shardproof
from shardproof.formulations.costs.flat import FlatClock
from shardproof.formulations.costs.many import listed
from shardproof.formulations.costs.operations import Operation
from shardproof.formulations.deployment import growth
from shardproof.formulations.deployment.build import Deployment
from shardproof.instances.resolve import load_instance
from tests.oracles.places import CASES

CASE = CASES / "qwen3-235b-a22b.yaml"


class HastyClock(FlatClock):
    """Large products are done in no time."""

    def picoseconds(self, operation: Operation) -> tuple[int, int]:
        return (1, 1) if operation.flops > 10**13 else super().picoseconds(operation)

    def many(self, operation: Operation, count: int) -> list[int]:
        times = super().many(operation, count)
        pairs = zip(listed(operation.flops, count), times, strict=True)
        return [1 if flops > 10**13 else time for flops, time in pairs]


def test_times_grow_with_the_requests_of_a_microbatch() -> None:
    found = growth.growth_of(Deployment(load_instance(CASE)).limited(5))
    assert found == growth.Growth(sizes=128, whole=True)


def test_times_that_fall_are_found() -> None:
    instance = load_instance(CASE)
    found = growth.growth_of(Deployment(instance, clock=HastyClock(instance.device)).limited(5))
    assert found.falls is not None
    assert found.falls.startswith("ttft[main] falls beyond ")


def test_sizes_are_those_of_the_load_where_all_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "CELLS_AT_MOST", 100)
    found = growth.growth_of(Deployment(load_instance(CASE)).limited(5))
    assert (found.sizes, found.whole) == (22, False)


def test_rows_of_two_loads_are_compared() -> None:
    deployment = Deployment(load_instance(CASE)).limited(5)
    small, large = (deployment.replica_program((load,), 5).layouts[-1] for load in (64, 128))
    assert growth.falling_row(small, large) is None
    assert growth.falling_row(large, small) == large.caps[0].name
    bare = replace(small, caps=()), replace(large, caps=())
    assert growth.falling_row(*bare) is None
    assert growth.falling_row(*reversed(bare)) is not None


def test_verify_states_the_premise() -> None:
    answer = shardproof.solve(CASE, engine="vllm")
    document = answer.certificate()
    assert document is not None
    alone = shardproof.verify(document)
    assert alone.premise == "who carries more carries less (not checked: no instance is given)"
    against = shardproof.verify(document, shardproof.load_instance(CASE, engine="vllm"))
    assert against.premise is not None
    assert "in times of microbatches of every size" in against.premise
    assert f"premise: {against.premise}" in str(against)
    assert against.to_dict()["premise"] == against.premise
    assert shardproof.verify({**document, "format": "another"}).premise is None


def test_verify_refuses_an_instance_whose_times_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = shardproof.solve(CASE, engine="vllm")
    fallen = growth.Growth(sizes=3, whole=False, falls="ttft[main] falls beyond 2 requests")
    monkeypatch.setattr(growth, "growth_of", lambda _: fallen)
    verdict = shardproof.verify(answer.certificate() or {}, shardproof.load_instance(CASE, engine="vllm"))
    assert not verdict
    assert verdict.reason == "the premise that who carries more carries less does not hold: " + str(fallen.falls)
