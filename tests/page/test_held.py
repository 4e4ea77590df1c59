"""What a worker holds: under moved limits it says what a solve of its own says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shardproof.solver.batch.answer import Answer, Job
from shardproof.solver.batch.fingerprint import SolveSettings
from shardproof.solver.batch.work import Solve
from shardproof.solver.page.held import Held
from shardproof.solver.page.questions import asked_of, question_for

LOADS = ({"batch_size": 24}, {"concurrency": 24})
TTFTS = ("60 s", "20 s", "2 s", "500 ms", "120 ms", "60 ms", "20 ms", "1 ms")
DEVICES = (("qwen3-14b", "l40s"), ("qwen3-8b", "rtx-4090"), ("gpt-oss-20b", "l4"))


def instance(model: str, device: str, **fields: Any) -> Any:
    common = {"model": model, "engine": "vllm", "isl": 1024, "osl": 128, "max_gpus": 8}
    return question_for(asked_of({"fields": common | fields}), device)


def solved(asked: Any) -> Answer:
    return Solve(SolveSettings(time_limit_s=60))(Job("x", "x", asked))


def optimum(answer: Answer) -> tuple[Any, ...]:
    levels = answer.summary.get("levels") or {}
    return (answer.status, answer.gpus, answer.bound, json.dumps(levels, sort_keys=True))


@pytest.mark.slow  # 48 questions are solved twice
@pytest.mark.parametrize("load", LOADS, ids=lambda load: next(iter(load)))
@pytest.mark.parametrize("subject", DEVICES, ids=lambda subject: subject[0])
def test_what_is_implied_is_the_optimum(subject: tuple[str, str], load: dict[str, int]) -> None:
    held, carried = Held(), 0
    for ttft in TTFTS:
        asked = instance(*subject, ttft=ttft, tpot="80 ms", **load)
        own, implied = solved(asked), held.implied(asked)
        if isinstance(implied, Answer):
            carried += 1
            assert optimum(implied) == optimum(own)
            assert json.loads(implied.document or "")["instance_fingerprint"] == asked.fingerprint
        else:
            assert implied.floor is None or own.bound is None or implied.floor <= own.bound
            held.keep(asked, own)
    assert 1 <= carried < len(TTFTS)


def test_nothing_carries_over_to_another_question() -> None:
    held = Held()
    easy = instance("qwen3-8b", "h100-sxm", ttft="9 s", batch_size=4)
    held.keep(easy, solved(easy))
    assert isinstance(held.implied(instance("qwen3-8b", "h100-sxm", ttft="8 s", batch_size=4)), Answer)
    others: list[dict[str, Any]] = [{"batch_size": 5}, {"concurrency": 4}, {"batch_size": 4, "kv_cache": "fp8"}]
    for other in others:
        assert not isinstance(held.implied(instance("qwen3-8b", "h100-sxm", **{"ttft": "8 s"} | other)), Answer)
    assert not isinstance(held.implied(instance("qwen3-8b", "h200-sxm", ttft="8 s", batch_size=4)), Answer)
    assert not isinstance(held.implied(instance("qwen3-8b", "h100-sxm", ttft="10 s", batch_size=4)), Answer)
    assert not isinstance(held.implied(instance("qwen3-8b", "h100-sxm", batch_size=4)), Answer)
