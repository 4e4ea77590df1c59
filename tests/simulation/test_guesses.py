"""Speculative decoding played: whole rounds that keep some of their tokens come to what is predicted."""

from __future__ import annotations

from typing import Any

import pytest

import shardproof
from shardproof.instances.speculative import MILLION
from shardproof.instances.traffic.trace import Request
from shardproof.solver.simulation.replica import Replica, ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes


def constant(each: int) -> IterationTimes:
    """Rounds of so many ns for each token that is kept, whatever is in them; prompts take nothing."""
    return IterationTimes(
        lambda sequences, context: [each], lambda tokens, context: [0], stages=1, most_sequences=8, most_tokens=64,
        longest=4096,
    )  # fmt: skip


def test_a_request_takes_as_many_whole_rounds_as_its_tokens_need() -> None:
    """2.5 tokens a round of 250 ns: 11 more tokens are 5 rounds, and the first comes with an idle round."""
    limits = ReplicaLimits(8, 64, 10_000, verified=4, gives=2_500_000)
    replica = Replica(constant(100), limits)
    served = replica.submit(Request(0, 16, 12))
    replica.advance()
    assert served.first_token == pytest.approx(250)
    assert served.finished == pytest.approx(250 + 5 * 250)
    assert replica.cached_tokens == pytest.approx(0)


def test_one_token_a_round_is_played_as_ever() -> None:
    plain, told = ReplicaLimits(4, 64, 200), ReplicaLimits(4, 64, 200, verified=1, gives=MILLION)
    found = []
    for limits in (plain, told):
        replica = Replica(constant(100), limits)
        served = [replica.submit(Request(place * 50, 32, 20 + place)) for place in range(12)]
        replica.advance()
        found.append([(one.first_token, one.finished, one.preempted) for one in served])
    assert found[0] == found[1]
    assert sum(preempted for _, _, preempted in found[0])


def test_a_full_cache_puts_sequences_back_and_all_of_them_end() -> None:
    """Slots of guesses count: what would not find them is put back, and written tokens are kept."""
    replica = Replica(constant(100), ReplicaLimits(6, 64, 220, verified=4, gives=2_500_000))
    served = [replica.submit(Request(place, 32, 40)) for place in range(6)]
    replica.advance()
    assert replica.preemptions
    assert all(one.finished is not None for one in served)
    assert replica.cached_tokens == pytest.approx(0)


@pytest.mark.parametrize("acceptance", ["0.8", "0"])
def test_a_played_closed_loop_comes_to_what_is_predicted(acceptance: str) -> None:
    question: dict[str, Any] = {
        "model": "mimo-7b-base",
        "device": "h100-sxm",
        "engine": "vllm",
        "workload": {"kind": "closed-loop", "concurrency": 16, "input_tokens": 512, "output_tokens": 512},
        "limits": {"max_gpus": 1},
        "speculative": {"method": "mtp", "draft_tokens": 2, "acceptance": acceptance},
    }
    solved = shardproof.solve(question)
    played = shardproof.simulate(solved, question, num_requests=200)
    runs = played.outcomes[0].runs[0].served[32:]
    tokens = [one.tpot for one in runs if one.tpot is not None]
    assert sum(tokens) / len(tokens) / 1e6 == pytest.approx(shardproof.predict(solved).tpot_ms, rel=0.06)
