"""What searches were refused serves the searches after them: the same answers, proofs of their own, fewer questions."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from shardproof.formulations.fleet.covering import Refused
from shardproof.instances.engine_choice import under_engine
from shardproof.instances.instance import Instance
from shardproof.instances.resolve import resolve_tree
from shardproof.solver.answer import answer
from shardproof.solver.search.capacities import Capacities
from shardproof.solver.search.query import Query
from shardproof.solver.search.refusals import Refusals, Subject, Told
from shardproof.solver.search.settings import Settings
from shardproof.solver.solve import search

QUICK = Settings(certify=False, explain=False)


def question(ttft: str | None, *, max_gpus: int = 12, engine: str = "vllm", **fields: Any) -> Instance:
    tree = {
        "model": "qwen3-8b",
        "device": "rtx-4090",
        "engine": engine,
        "workload": {"kind": "burst", "batch_size": 10, "input_tokens": 1024, "output_tokens": 128},
        "limits": {"max_gpus": max_gpus, **({} if ttft is None else {"ttft": ttft})},
        "hardware": {"mfu": "50%", "bandwidth_efficiency": "80%", "memory": "14 GB"},
    }
    return resolve_tree(tree | fields, where="a question")


def levels(instance: Instance, settings: Settings) -> tuple[Any, ...]:
    found = answer(instance, settings=settings)
    return found.status, found.gpus, found.bound, found.levels, found.engine, [e.gpus for e in found.engines]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which every question about a single replica is added."""
    found: list[int] = []
    original = Capacities.carries

    def carries(self: Capacities, gpus: int, load: tuple[int, ...]) -> bool:
        before = len(self.claims) + len(self.carried)
        result = original(self, gpus, load)
        if self.floor and self.limits == Query(0) and len(self.claims) + len(self.carried) != before:
            found.append(gpus)
        return result

    monkeypatch.setattr(Capacities, "carries", carries)
    return found


def test_what_is_refused_holds_under_limits_no_looser_and_stages_no_wider() -> None:
    told = Told(limits=(10, None), widest=4, refused=Refused(6, (3,)))
    subject = Subject("costs", "kind", (10, None), 4)
    assert told.holds(subject)
    assert told.holds(replace(subject, limits=(9, 5)))
    assert not told.holds(replace(subject, limits=(11, None)))
    assert not told.holds(replace(subject, limits=(None, None)))
    assert not told.holds(replace(subject, widest=5))
    assert replace(told, widest=6).holds(replace(subject, widest=64))


def test_costs_are_told_apart_and_limits_are_not() -> None:
    one, other = Subject.of(question("2 s")), Subject.of(question("900 ms", max_gpus=9))
    assert (one.costs, one.kind) == (other.costs, other.kind)
    assert one.limits == (2 * 10**9, None)
    more = Subject.of(question("2 s", workload={"kind": "burst", "batch_size": 25, "input_tokens": 1024,
                                                "output_tokens": 128}))  # fmt: skip
    assert more.costs != one.costs
    assert more.kind != one.kind
    named = Subject.of(under_engine(question("2 s"), "sglang"))
    assert named.costs != one.costs
    assert named.kind == one.kind
    assert Subject.of(question("2 s", margin="10%")).costs != one.costs


def test_known_loads_are_the_strongest_of_those_that_hold() -> None:
    refusals, subject = Refusals(), Subject("costs", "kind", (5,), 8)
    refusals.note(replace(subject, limits=(7,)), [Refused(4, (9,)), Refused(3, (9,)), Refused(2, (4,))])
    refusals.note(replace(subject, limits=(4,)), [Refused(4, (1,))])
    assert refusals.known(subject) == [Refused(4, (9,)), Refused(2, (4,))]
    assert refusals.known(replace(subject, costs="others")) == []
    assert refusals.guesses(replace(subject, costs="others", limits=(7,))) == [Refused(4, (9,)), Refused(2, (4,))]
    assert refusals.guesses(subject) == []


@pytest.mark.parametrize("order", [("1500 ms", "900 ms", "300 ms"), ("300 ms", "500 ms", "900 ms")])
def test_answers_in_a_row_are_those_of_each_alone(order: tuple[str, ...]) -> None:
    shared = replace(QUICK, refusals=Refusals())
    together = [levels(question(ttft), shared) for ttft in order]
    assert together == [levels(question(ttft), QUICK) for ttft in order]


def test_what_is_known_is_not_asked_again(asked: list[int]) -> None:
    shared = replace(QUICK, refusals=Refusals())
    first = levels(question("500 ms"), shared)
    count = len(asked)
    assert count > 0
    assert levels(question("500 ms"), shared) == first
    assert len(asked) - count < count / 2


def test_a_proof_relies_on_nothing_that_was_known() -> None:
    refusals = Refusals()
    levels(question("500 ms"), replace(QUICK, refusals=refusals))
    found = answer(question("500 ms"), settings=Settings(explain=False, refusals=refusals))
    assert found.proof in ("certified-optimal", "certified-gap")
    assert found.status == "optimal"


class Misled(Refusals):
    """Guesses at random."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = Random(seed)

    def guesses(self, subject: Subject) -> list[Refused]:
        draw = self._random.randint
        return [Refused(gpus, (draw(1, max(1, 2 * gpus)),)) for gpus in range(1, 24)]


@pytest.mark.parametrize("seed", range(4))
def test_wrong_guesses_change_no_answer(seed: int) -> None:
    instance = question("900 ms")
    plain = search(instance, QUICK).outcome
    misled = search(instance, replace(QUICK, refusals=Misled(seed))).outcome
    assert misled.levels == plain.levels
    assert misled.infeasible == plain.infeasible
