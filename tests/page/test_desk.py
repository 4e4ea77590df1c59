"""The desk: equal errands once, answers before the rest, what nobody waits for is dropped, a stopped worker is gone."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shardproof.solver.batch.answer import Answer
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.page import desk as desk_module
from shardproof.solver.page.desk import Desk, Listener
from shardproof.solver.page.errands import Errand
from shardproof.solver.page.turns import Turns

LONG = {"model": "deepseek-r1", "isl": 8192, "osl": 1024, "batch_size": 512, "max_gpus": 512, "ttft": "30 s"}
SHORT = {"model": "qwen3-8b", "isl": 128, "osl": 16, "batch_size": 1, "max_gpus": 1}

WAIT_S = 600
"""Long enough on a machine that does much else: a wait that ends sooner ends when what it waits for is there."""


def errand(fields: dict[str, Any], kind: str = "answer", **more: Any) -> Errand:
    return Errand(kind, {"question": {"fields": fields}, "device": "h100-sxm", **more})


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    found = Desk(SolveSettings(time_limit_s=WAIT_S), processes=1)
    found.start()
    yield found
    found.close()


class Waiting:
    """A listener that keeps what it was told."""

    def __init__(self, desk: Desk, wanted: Errand) -> None:
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.news: list[Any] = []
        self.listener = Listener(self.news.append, self.answers.put)
        self.errand = wanted
        self.desk = desk
        desk.ask(wanted, self.listener)

    def answer(self) -> Answer:
        return self.answers.get(timeout=WAIT_S)

    def leave(self) -> None:
        self.desk.leave(self.errand, self.listener)

    def stop(self) -> None:
        self.desk.stop(self.errand, self.listener)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_answer_is_kept_and_told_again_without_work(desk: Desk) -> None:
    first = Waiting(desk, errand(SHORT)).answer()
    assert first.status == "done"
    assert Waiting(desk, errand(SHORT)).answer() is first


def test_equal_errands_are_done_once(desk: Desk) -> None:
    both = [Waiting(desk, errand(SHORT | {"isl": 130})) for _ in range(2)]
    assert both[0].answer() is both[1].answer()


def test_a_refusal_names_field_and_value(desk: Desk) -> None:
    answer = Waiting(desk, errand(SHORT | {"isl": "many"})).answer()
    assert answer.status == "refused"
    assert answer.reason is not None
    assert "isl" in answer.reason
    assert "many" in answer.reason


def test_a_long_solve_tells_bound_and_incumbent_and_says_what_it_knows_when_it_is_stopped(desk: Desk) -> None:
    long = Waiting(desk, errand(LONG))
    until(lambda: bool(long.news))
    assert {"incumbent", "bound", "seconds"} <= set(long.news[0])
    long.stop()
    again = Waiting(desk, errand(LONG))  # asked anew while it ends: searched anew
    found = json.loads(long.answer().document or "")
    bound = found["bound"] if "ended" in found else found["result"]["bound"]
    assert bound >= 1
    until(lambda: bool(again.news))
    again.leave()
    assert Waiting(desk, errand(SHORT | {"isl": 140})).answer().status == "done"
    assert again.answers.empty()


def test_who_stops_what_others_wait_for_ends_nothing(desk: Desk) -> None:
    both = [Waiting(desk, errand(LONG | {"isl": 8000})) for _ in range(2)]
    until(lambda: bool(both[1].news))
    both[0].stop()
    assert json.loads(both[0].answer().document or "")["ended"] == "stopped"
    assert both[1].answers.empty()
    both[1].leave()


def test_what_does_not_keep_its_limit_is_ended_and_what_it_told_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "_GRACE_FACTOR", 0.0002)
    monkeypatch.setattr(desk_module, "_GRACE_S", 0.0)
    hasty = Desk(SolveSettings(time_limit_s=WAIT_S), processes=1)
    hasty._thread.start()
    try:
        answer = Waiting(hasty, errand(LONG)).answer()
    finally:
        hasty.close()
    found = json.loads(answer.document or "")
    assert found["bound"] >= 1
    assert "time limit" in found["ended"]
    told = desk_module._cut_off(errand(LONG), {"incumbent": 9, "bound": 4, "seconds": 1.0}, "stopped")
    known = {"incumbent": 9, "bound": 4, "unit": "GPUs", "scale": 1}
    assert json.loads(told.document or "") == {"device": "h100-sxm", "ended": "stopped", **known}


def test_tabs_take_turns() -> None:
    turns = Turns()
    for number in range(5):
        turns.add("greedy", f"greedy {number}", 0)
    turns.add("modest", "modest 0", 0)
    turns.add("modest", "greedy 3", 0)
    turns.add("late", "proof", 2)
    taken: list[tuple[str, Any]] = []
    while turns:
        found = turns.take(lambda key: key != "greedy 1" or len(taken) > 4)
        assert found is not None
        taken.append(found)
        if found[0] == "greedy 0":
            turns.done(found[1], 9.0)
    keys = [key for key, _ in taken]
    assert keys == ["greedy 0", "modest 0", "greedy 3", "greedy 2", "greedy 4", "greedy 1", "proof"]
    assert taken[2][1] == ("greedy", "modest")
    turns.add("fresh", "fresh", 0)
    assert turns.take(lambda key: True) == ("fresh", ("fresh",))


def test_a_tab_that_had_more_waits_for_one_that_had_less() -> None:
    turns = Turns()
    for name in ("first", "second"):
        for number in range(3):
            turns.add(name, f"{name} {number}", 0)
    order = []
    while turns:
        found = turns.take(lambda key: True)
        assert found is not None
        order.append(found[0])
        turns.done(found[1], 5.0 if found[0].startswith("first") else 1.0)
    assert order == ["first 0", "second 0", "second 1", "second 2", "first 1", "first 2"]


def test_who_leaves_a_waiting_errand_costs_nothing(desk: Desk) -> None:
    running = Waiting(desk, errand(SHORT | {"isl": 150}))
    left = Waiting(desk, errand(LONG))
    left.leave()
    assert running.answer().status == "done"
    assert Waiting(desk, errand(SHORT | {"isl": 151})).answer().status == "done"
    assert left.answers.empty()


def test_answers_come_before_what_adds_to_one(desk: Desk) -> None:
    order: list[str] = []
    done = threading.Event()

    def noted(name: str) -> Listener:
        def told(answer: Answer) -> None:
            order.append(name)
            if len(order) == len(kinds):
                done.set()

        return Listener(lambda news: None, told)

    kinds = [("answer", 160), ("why", 161), ("certify", 162), ("answer", 163)]
    for kind, tokens in kinds:
        desk.ask(errand(SHORT | {"isl": tokens}, kind), noted(f"{kind} {tokens}"))
    assert done.wait(60)
    assert order.index("answer 163") < order.index("why 161")
    assert order.index("answer 163") < order.index("certify 162")


def test_what_is_kept_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "KEPT_CHARACTERS", 1000)
    found = Desk(SolveSettings(), processes=1)
    for number in range(50):
        found._keep(f"key {number}", Answer("done", {"final": True}, "x" * 100, 0.1))
    found._keep("large", Answer("done", {"final": True}, "x" * 500, 0.1))
    found._keep("open", Answer("done", {"final": False}, "x", 0.1))
    found._keep("failed", Answer("failed", {}, None, 0.1, reason="died"))
    assert sum(len(a.document or "") + len(key) for key, a in found._kept.items()) == found._kept_characters <= 1000
    assert list(found._kept)[-1] == "key 49"
