"""Our simulator beside Vidur's: one replica, the same iteration times, the same requests, percentiles of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import answer_of
from benchmarks.solve.timing import timed
from shardproof.instances.traffic.trace import Request
from shardproof.solver.simulation.fleet import Seat, play_open
from shardproof.solver.simulation.outcome import upper_quantile
from shardproof.solver.simulation.replica import ReplicaLimits
from shardproof.solver.simulation.times import IterationTimes

PEER = Path(__file__).with_name("vidur_peer.py")
COSTS = {"round": 5e6, "sequence": 2e4, "held": 20.0, "token": 3e4, "pair": 1.0}
"""ns: of a round, of each sequence in it, of each token that it reads, of a prompt's token, of a pair of them."""
SEQUENCES, BATCHED_TOKENS, LONGEST = 256, 2048, 8192
QUESTIONS = (
    (2, 1024, 128, 200_000),
    (6, 1024, 128, 200_000),
    (12, 512, 128, 100_000),
    (8, 512, 512, 60_000),
    (16, 128, 256, 400_000),
)
"""Requests a second, prompt and answer tokens (means; log-normal), tokens of KV cache."""
REQUESTS = 1500


@dataclass(frozen=True)
class Row:
    """One question: the ratio of our figure to the peer's at each percentile, and seconds of both."""

    name: str
    ttft: dict[int, float]
    tpot: dict[int, float]
    preemptions: int
    seconds: float
    peer_seconds: float


def measure(python: str, *, seed: int = 0) -> Iterator[Row]:
    """Play every question by both; ``python`` is an interpreter that can import the peer."""
    random = np.random.default_rng(seed)
    for rate, read, written, cache in QUESTIONS:
        moments = np.cumsum(random.exponential(1 / rate, REQUESTS))
        prompts, answers = (_lengths(random, mean) for mean in (read, written))
        requests = list(zip(moments.tolist(), prompts.tolist(), answers.tolist(), strict=True))
        yield compared(f"{rate}/s, {read}/{written}, cache {cache}", requests, cache, python)


def _lengths(random: np.random.Generator, mean: int) -> np.ndarray[Any, Any]:
    drawn = mean * np.exp(random.normal(0, 0.6, REQUESTS) - 0.18)
    lengths: np.ndarray[Any, Any] = np.clip(drawn, 8, LONGEST // 2 - 1).astype(int)
    return lengths


def compared(name: str, requests: list[tuple[float, int, int]], cache: int, python: str) -> Row:
    """Play one list of requests (arrival in s, prompt and answer tokens) by both."""
    run, spent = timed(lambda: _ours(requests, cache))
    theirs = _theirs(requests, cache, python)
    first, last = (np.array([item[at] for item in theirs["requests"]]) for at in (0, 1))
    came, written = (np.array([item[at] for item in requests]) for at in (0, 2))
    ttft, tpot = first - came, (last - first) / np.maximum(1, written - 1)
    return Row(
        name,
        {percent: run.quantile("ttft", percent) / 1e9 / upper_quantile(ttft, percent) for percent in (50, 90, 99)},
        {percent: run.quantile("tpot", percent) / 1e9 / upper_quantile(tpot, percent) for percent in (50, 90, 99)},
        run.preemptions,
        round(spent.cpu_s, 2),
        round(theirs["seconds"], 2),
    )


def _ours(requests: list[tuple[float, int, int]], cache: int) -> Any:
    def decode(sequences: int, context: int) -> tuple[int]:
        return (round(COSTS["round"] + sequences * (COSTS["sequence"] + COSTS["held"] * context)),)

    def prefill(tokens: int, before: int) -> tuple[int]:
        return (round(tokens * (COSTS["token"] + COSTS["pair"] * (before + tokens / 2))),)

    times = IterationTimes(
        decode, prefill, stages=1, most_sequences=SEQUENCES, most_tokens=BATCHED_TOKENS, longest=LONGEST
    )
    seat = Seat(times, ReplicaLimits(SEQUENCES, BATCHED_TOKENS, cache))
    came = [Request(round(moment * 1e9), read, written) for moment, read, written in requests]
    return play_open([seat], came, router="random", seed=0, watched=False)


def _theirs(requests: list[tuple[float, int, int]], cache: int, python: str) -> dict[str, Any]:
    question = {
        "requests": requests,
        "costs": {name: cost / 1e9 for name, cost in COSTS.items()},
        "sequences": SEQUENCES,
        "batched_tokens": BATCHED_TOKENS,
        "cache_tokens": cache,
    }
    return answer_of(PEER, question, python)
