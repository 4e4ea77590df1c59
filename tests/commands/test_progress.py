"""On a terminal a verb says how far it is, from the first second on; elsewhere nothing."""

from __future__ import annotations

import io
import sys
import time

import pytest

from shardproof.instances.clock import now
from shardproof.instances.resolve import resolve_tree
from shardproof.solver import alternatives
from shardproof.solver.alternatives import Asked, Variant, next_best
from shardproof.solver.commands import progress
from shardproof.solver.commands.progress import watched
from shardproof.solver.search.settings import Progress, Settings, report, watching
from shardproof.solver.solve import solve
from shardproof.solver.writers.terminal import render_result

QUESTION = {
    "model": "qwen3-8b",
    "device": "h100-sxm",
    "workload": {"kind": "burst", "batch_size": 2, "input_tokens": 64, "output_tokens": 8},
    "limits": {"max_gpus": 1},
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def asked() -> Asked:
    instance = resolve_tree(QUESTION, where="question")
    return Asked(QUESTION, "question", None, instance, solve(instance, settings=Settings(explain=False)))


def test_what_is_searched_inside_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(progress, "_SILENT_S", 0.0)
    monkeypatch.setattr(progress, "_EVERY_S", 0.001)
    with watched("audit"):
        solve(resolve_tree(QUESTION, where="question"), settings=Settings(certify=False, explain=False))
        deadline = time.monotonic() + 600
        while "bound 1" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.001)
    assert "audit, " in terminal.getvalue()
    assert "gap 0.0%" in terminal.getvalue()
    assert terminal.getvalue().endswith(progress.CLEARED)


def test_nothing_is_shown_where_no_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", said := io.StringIO())
    monkeypatch.setattr(progress, "_SILENT_S", 0.0)
    with watched("audit"):
        asked()
    assert said.getvalue() == ""


def test_the_time_limit_is_that_of_all_next_best_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [Variant("engine", name, {"engine": {"name": name}}) for name in ("vllm", "sglang", "trtllm")]
    monkeypatch.setattr(alternatives, "variants", lambda _asked: iter(variants))
    question = asked()
    found, left_out = next_best(question, Settings(certify=False), 1, give_up=now() - 1)
    assert (found, left_out) == ((), 3)
    text = render_result(question.instance, question.result, colour=False, left_out=left_out)
    assert "3 questions next to this one" in text
    found, left_out = next_best(question, Settings(certify=False), 3, give_up=None)
    assert (len(found), left_out) == (3, 0)


def test_a_search_without_settings_tells_who_watches() -> None:
    heard: list[Progress] = []
    report(None, 1, started=now())
    with watching(heard.append):
        report(3, 2, started=now())
    assert [(one.incumbent, one.bound, one.level) for one in heard] == [(3, 2, "gpus")]
